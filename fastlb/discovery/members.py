"""From what a name stands for to the servers of a backend, and who of them joins and who leaves.

A server that its name no longer stands for is drained first: it gets nothing new, and goes when nothing is in flight on
it or the backend's `timeouts.drain` is over. Answers that fail take nobody away.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fastlb.control.changes import Changes
from fastlb.control.names import FAMILIES, Answer, Found, Lookups
from fastlb.control.slots import ServerId
from fastlb.spec import Address, Backend, Discover, Server, ServerState, Spec

MAX_TIER = 7


@dataclass(frozen=True, slots=True)
class Turn:
    """A server that came or went."""

    backend: str
    server: Server
    what: str  # joins | leaves | is back | is gone


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration with the servers found, and what that changes of the one that runs."""

    spec: Spec
    turns: tuple[Turn, ...]
    changed: bool  # of what was discovered: servers or anything of them
    leaving: Mapping[ServerId, float]  # until when, by the clock of `Discovery`


class Discovery:
    """What was answered so far, and which servers are on their way out. Not thread-safe.

    `busy(server)` says whether anything is in flight on one.
    """

    def __init__(self, busy: Callable[[ServerId], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._busy = busy
        self._clock = clock
        self._answers: dict[str, Answer] = {}
        self._leaving: Mapping[ServerId, float] = {}
        self._base: dict[ServerId, Server] = {}
        self.lookups: dict[str, Lookups] = {}  # by question

    @property
    def leaving(self) -> bool:
        """Some server is drained: `plan` has to be asked again before long."""
        return bool(self._leaving)

    def leaves(self, backend: str, address: Address) -> bool:
        """The server is drained, for its name no longer stands for it."""
        return (backend, address) in self._leaving

    def base(self, backend: str, address: Address) -> Server | None:
        """A discovered server as it would be without run-time changes."""
        return self._base.get((backend, address))

    def found(self, discover: Discover) -> int:
        """Servers that the last good answer has, beyond the cap too."""
        return len(servers_of(discover, self._answers.get(discover.question, Answer())))

    def note(self, answers: Mapping[str, Answer]) -> None:
        """Takes answers in. A failed one leaves what is known as it was."""
        now = time.time()
        for question, answer in answers.items():
            told = self.lookups.setdefault(question, Lookups())
            if answer.found:
                told.found += 1
                told.found_at, told.ttl, told.reason = now, answer.ttl, ""
                self._answers[question] = answer.after(self._answers.get(question, Answer()))
            else:
                told.failed += 1
                told.reason = answer.reason

    def plan(self, spec: Spec, running: Spec) -> Plan:
        """`spec` with the servers that its `discover` tables stand for; `running` is what it takes the place of.

        Run-time changes of discovered servers are taken from `spec.changes`. O(servers).
        """
        turns: list[Turn] = []
        leaving: dict[ServerId, float] = {}
        before = {b.name: b.servers for b in running.backends}
        backends: list[Backend] = []
        changed = False
        for backend in spec.backends:
            found = tuple(s for s in before.get(backend.name, ()) if s.source)
            if backend.discover:
                fixed = tuple(s for s in backend.servers if not s.source)
                servers = self._servers(backend, fixed, found, Changes(spec.changes), turns, leaving)
                changed = changed or servers != found
                backend = dataclasses.replace(backend, servers=(*fixed, *servers))
            elif found:
                changed = True
            backends.append(backend)
        return Plan(dataclasses.replace(spec, backends=tuple(backends)), tuple(turns), changed, leaving)

    def overlaid(self, spec: Spec, running: Spec) -> Spec:
        """`spec`, which differs from `running` in run-time changes alone, with the discovered servers of that.

        Nobody joins or leaves by it: it need not be told to the workers.
        """
        sheet = Changes(spec.changes)
        found = {b.name: [s for s in b.servers if s.source] for b in running.backends}
        backends = []
        for backend in spec.backends:
            servers = list(backend.servers)
            for server in found.get(backend.name, ()):
                base = self._base.get((backend.name, server.address), server)
                if self.leaves(backend.name, server.address):
                    base = dataclasses.replace(base, state=ServerState.DRAIN)
                servers.append(sheet.applied(backend.name, base))
            backends.append(dataclasses.replace(backend, servers=tuple(servers)))
        return dataclasses.replace(spec, backends=tuple(backends))

    def commit(self, plan: Plan) -> None:
        """The plan's configuration runs."""
        self._leaving = plan.leaving
        asked = {d.question for b in plan.spec.backends for d in b.discover}
        self._answers = {question: answer for question, answer in self._answers.items() if question in asked}
        self.lookups = {question: told for question, told in self.lookups.items() if question in asked}
        self._base = {
            (b.name, server.address): server
            for b in plan.spec.backends
            for discover in b.discover
            for server in servers_of(discover, self._answers.get(discover.question, Answer()))
        } | {
            identity: dataclasses.replace(server, state=ServerState.READY)
            for identity, server in self._base.items()
            if identity in plan.leaving
        }

    def _servers(
        self,
        backend: Backend,
        fixed: tuple[Server, ...],
        running: tuple[Server, ...],
        sheet: Changes,
        turns: list[Turn],
        leaving: dict[ServerId, float],
    ) -> tuple[Server, ...]:
        """The discovered servers of one backend, in the order of their addresses."""
        there = {s.address: s for s in running}
        taken = {s.address for s in fixed}
        names = {s.name for s in fixed}
        chosen: dict[Address, Server] = {}
        for discover in backend.discover:
            named = [
                server
                for server in servers_of(discover, self._answers.get(discover.question, Answer()))
                if server.address not in taken and server.name not in names
            ]
            # Over the cap those stay that are there: which ones an answer has first is chance.
            named.sort(key=lambda s: (s.tier, s.address not in there or (backend.name, s.address) in self._leaving))
            members = named[: discover.max_servers]
            gone = [
                server
                for server in running
                if server.source == str(discover)
                and server.resolved
                and server.address not in taken
                and all(server.address != member.address for member in members)
            ]
            members += self._drained(backend, gone, turns, leaving)
            if not members and (address := Address(discover.host, discover.port)) not in taken:
                members = [Server(str(discover), address, source=str(discover))]
            taken.update(member.address for member in members)
            names.update(member.name for member in members)
            chosen.update((member.address, member) for member in members)
        servers: list[Server] = []
        for member in sorted(chosen.values(), key=_place):
            change = sheet.of(backend.name, member.address)
            if change is not None and change.removed:
                continue
            old = there.get(member.address)
            identity = (backend.name, member.address)
            if member.resolved and identity not in leaving:
                if old is None or not old.resolved:
                    turns.append(Turn(backend.name, member, "joins"))
                elif identity in self._leaving:
                    turns.append(Turn(backend.name, member, "is back"))
            servers.append(sheet.applied(backend.name, member))
        return tuple(servers)

    def _drained(
        self, backend: Backend, gone: Iterable[Server], turns: list[Turn], leaving: dict[ServerId, float]
    ) -> list[Server]:
        """Those of the servers gone that still have something to finish."""
        now = self._clock()
        kept = []
        for server in gone:
            identity = (backend.name, server.address)
            until = self._leaving.get(identity)
            if until is None:
                turns.append(Turn(backend.name, server, "leaves"))
                until = now + backend.timeouts.drain
            elif now >= until or not self._busy(identity):
                turns.append(Turn(backend.name, server, "is gone"))
                continue
            leaving[identity] = until
            base = self._base.get(identity, server)
            kept.append(dataclasses.replace(base, state=ServerState.DRAIN))
        return kept


def servers_of(discover: Discover, answer: Answer) -> list[Server]:
    """The servers that an answer stands for, one an address, the lowest addresses first.

    Of SRV records the lowest priority number is `discover.tier`, the next one the tier after it, up to 7. RFC 2782
    gives records of weight 0 hardly anything beside others, and equal shares among themselves: weight 1.
    """
    found: dict[Address, Server] = {}
    if discover.port:
        rows = [(discover.host, discover.port, discover.tier, discover.weight, answer.addresses)]
    else:
        ranks = {number: rank for rank, number in enumerate(sorted({t.priority for t in answer.targets}))}
        rows = [
            (t.host, t.port, min(discover.tier + ranks[t.priority], MAX_TIER), max(1, t.weight), t.addresses)
            for t in sorted(answer.targets, key=lambda t: t.priority)
        ]
    for host, port, tier, weight, addresses in rows:
        for family, literal in _of_family(addresses, discover.family):
            address = Address(literal, port)
            server = Server(
                str(address), address, weight, discover.backup, discover.max_connections,
                ((family, (literal, port)),), send_proxy=discover.send_proxy, tier=0 if discover.backup else tier,
                source=str(discover), host=host, slow_start=discover.slow_start,
            )  # fmt: skip
            if port:
                found.setdefault(address, server)
    return sorted(found.values(), key=_place)


def _of_family(addresses: Found, family: str) -> Found:
    wanted = {"ipv4": FAMILIES[:1], "ipv6": FAMILIES[1:]}.get(family, FAMILIES)
    return tuple(one for one in addresses if one[0] in wanted)


def _place(server: Server) -> tuple[int, int, int]:
    """Order of discovered servers: by address, so that every balancer has the same."""
    try:
        literal = ipaddress.ip_address(server.address.host)
    except ValueError:
        return 0, 0, 0
    return literal.version, int(literal), server.address.port
