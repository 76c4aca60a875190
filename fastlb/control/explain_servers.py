"""Which server of a backend a request would get, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastlb.control.balance_copy import FULL, BalanceCopy
from fastlb.control.region import Region
from fastlb.control.slots import Assignment
from fastlb.control.tiers import BACKUP
from fastlb.spec import Backend, Server

if TYPE_CHECKING:
    from fastlb.control.balance_copy import Seen

DRAWS = 1000  # of a choice with chance in it
WORK = 2_000_000  # servers * draws at most
BY_CHANCE = ("two_choices", "least_time", "random")
SCANNED = 64  # servers that least_connections compares; of more it samples

ALL_FULL = "all servers that are up are at their limit"
HOW = {
    "round_robin": "it is its turn; every request moves the turn on",
    "weighted_round_robin": "it is its turn; every request moves the turn on",
    "least_connections": "it has the least in flight for its weight; ties take turns",
    "two_choices": "of two drawn at random by weight the one with less in flight for its weight is taken",
    "least_time": "of two drawn at random by weight the one expected to answer sooner is taken",
    "random": "drawn at random by weight",
    "first": "it is the first one with room",
    "ip_hash": "the client's address belongs to it",
    "consistent_hash": "the key belongs to it",
}


@dataclass(slots=True)
class Candidate:
    """One server."""

    name: str
    address: str
    state: str  # UP, DOWN, EJECTED, DRAIN or MAINT
    backup: bool
    weight: int
    effective_weight: float  # with slow start
    in_flight: int
    limit: int  # 0 = unlimited
    score: float | None  # what the algorithm compares, least first; None where it compares nothing
    latency: float | None  # seconds, estimated
    share: float  # of requests that came now; 1 for the server that certainly gets it
    picked: bool
    why: str


@dataclass(slots=True)
class Balance:
    """The choice among the servers of a backend."""

    backend: str
    algorithm: str
    key: str | None  # what is hashed of the request
    key_of: str  # where from; '' = nothing is hashed
    hash: str  # of the key, 16 hex digits
    panic: bool  # so few servers are up that health is disbelieved
    tier: str  # primary | backup | how several share
    picked: str  # name of a server; '' = none
    certain: bool  # else it is the most likely one
    how: str
    retries: list[str] = field(default_factory=list)  # who would be next if attempts failed
    servers: list[Candidate] = field(default_factory=list)

    def outcome(self) -> tuple[str, int, str]:
        """Of the whole request: outcome, status, sentence."""
        if self.picked:
            word = "goes" if self.certain else "most likely goes"
            return "proxied", 0, f"{word} to {self.backend}/{self.picked}"
        if self.how == ALL_FULL:
            return "queued", 0, f"waits in the queue of {self.backend}: {self.how}"
        return "no server", 503, f"no server of {self.backend} is available"


def explain_servers(backend: Backend, assignment: Assignment, region: Region, head: bytes, client: str) -> Balance:
    """Asks a copy of the balancer, a request after another from the same state. `head` must parse."""
    copy = BalanceCopy(backend, assignment, region)
    algorithm, servers = backend.balance.algorithm, backend.servers
    found = copy.key(head, client)
    key = found[1] if found else None
    chance = (
        algorithm in BY_CHANCE
        or (algorithm == "least_connections" and len(servers) > SCANNED)
        or (len(copy.loads()) > 1 and key is None)
    )
    times = max(50, min(DRAWS, WORK // max(1, len(servers)))) if chance else 1
    drawn = copy.draw(key, times=times)
    slot = max(drawn, key=lambda one: drawn[one])
    seen = [copy.server(n) for n in range(len(servers))]
    told = Balance(
        backend=backend.name,
        algorithm=f"{algorithm} ({backend.balance.method})" if backend.balance.method else algorithm,
        key=found[0] if found else None,
        key_of=(backend.balance.key or "ip") if copy.keyed else "",
        hash=f"{key:016x}" if key is not None else "",
        panic=any(one["candidate"] and not one["usable"] for one in seen),
        tier=_tier(copy, servers, seen),
        picked=servers[slot].name if slot >= 0 else "",
        certain=slot >= 0 and drawn[slot] == times,
        how=_how(algorithm, copy.keyed and key is None) if slot >= 0 else _nobody(slot),
        retries=_retries(copy, backend, key, slot, 50 if chance else 1),
    )
    for n, (server, one) in enumerate(zip(servers, seen, strict=True)):
        told.servers.append(_candidate(n, server, one, slot, drawn.get(n, 0) / times, told, seen))
    return told


def _tier(copy: BalanceCopy, servers: tuple[Server, ...], seen: list[Seen]) -> str:
    loads = copy.loads()
    if len(loads) > 1:
        return ", ".join(f"{'backups' if t == BACKUP else f'tier {t}'}: {load} %" for t, load in loads.items())
    return "backup" if any(s.backup and one["candidate"] for s, one in zip(servers, seen, strict=True)) else "primary"


def _how(algorithm: str, keyless: bool) -> str:
    if keyless:
        return "the request has no key, so servers take turns by weight"
    return HOW.get(algorithm, "")


def _nobody(slot: int) -> str:
    return ALL_FULL if slot == FULL else "all are down, drained or without weight"


def _retries(copy: BalanceCopy, backend: Backend, key: int | None, slot: int, times: int) -> list[str]:
    """The servers that further attempts would go to, as far as `retries` allows."""
    tried: list[int] = []
    for _ in range(backend.retries):
        if slot < 0:
            break
        tried.append(slot)
        drawn = copy.draw(key, tried, times)
        slot = max(drawn, key=lambda one: drawn[one])
        if slot in tried:
            break
    else:
        if slot >= 0:
            tried.append(slot)
    return [backend.servers[n].name for n in tried[1:]]


def _candidate(
    n: int, server: Server, one: Seen, slot: int, share: float, told: Balance, seen: list[Seen]
) -> Candidate:
    picked = n == slot
    return Candidate(
        name=server.name,
        address=str(server.address),
        state=_state(one),
        backup=server.backup,
        weight=one["weight"],
        effective_weight=round(one["weight"] * one["ramp"], 3),
        in_flight=one["in_flight"],
        limit=one["limit"],
        score=one["score"],
        latency=one["latency"],
        share=share,
        picked=picked,
        why=_picked(told, one, share)
        if picked
        else _why_not(server, one, share, told, seen[slot] if slot >= 0 else None),
    )


def _state(one: Seen) -> str:
    if one["maint"]:
        return "MAINT"
    if not one["up"]:
        return "DOWN"
    if one["ejected"] or one["breaker"] == "open":
        return "EJECTED"
    return "DRAIN" if one["drain"] else "UP"


def _picked(told: Balance, one: Seen, share: float) -> str:
    parts = [told.how]
    if not told.certain:
        parts.append(f"{share:.0%} of requests like this, as things stand")
    if one["breaker"] == "half-open":
        parts.append("its circuit breaker is half open: a few requests decide")
    if not one["usable"]:
        parts.append("it is not healthy, but too few servers are: panic")
    return "; ".join(parts)


def _why_not(server: Server, one: Seen, share: float, told: Balance, best: Seen | None) -> str:
    """Why a server is not the one; the first reason that stands."""
    state = _state(one)
    if not one["candidate"]:
        if state in ("DRAIN", "MAINT"):
            return "drained by the operator" if state == "DRAIN" else "in maintenance"
        if one["weight"] == 0:
            return "its weight is 0"
        if state == "DOWN":
            return "down" if server.resolved else "down: its address is not known"
        if state == "EJECTED":
            return "its circuit breaker is open" if one["breaker"] else "ejected because its requests failed"
        if server.backup:
            return "a backup, and a primary is up"
        return f"tier {server.tier} is not needed" if server.tier else "not in use"
    if one["limit"] and one["in_flight"] >= one["limit"]:
        return f"at its limit: {one['in_flight']} of {one['limit']} in flight"
    if one["bound"] is not None and one["in_flight"] >= one["bound"]:
        return f"over its part of the load: {one['in_flight']} of {one['bound']} in flight"
    if share:
        return f"gets {share:.0%} of requests like this"
    if told.picked and told.key is not None:
        return f"the key belongs to {told.picked}"
    score, other = one["score"], best["score"] if best else None
    if score is not None and other is not None and score > other:
        return "busier for its weight" if not told.algorithm.startswith("least_time") else "expected to answer later"
    if told.algorithm.startswith("first"):
        return "one before it has room"
    return "not its turn" if told.picked else "nobody is picked"
