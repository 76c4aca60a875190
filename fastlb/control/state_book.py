"""Since when each server and backend is in its state, and why: what the flags in the shared region do not say.

Whoever changes a server (health checks, the operator, a reload) reports it with a reason. Changes that nobody reported,
made by a worker, are found by `sweep`, which whoever reads the book runs every second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fastlb.control.events import Events
from fastlb.control.region import Region
from fastlb.control.server_state import describe
from fastlb.control.slots import Assignment, ServerId
from fastlb.control.tiers import BACKUP, standing_of
from fastlb.spec import Backend, Server, Spec

log = logging.getLogger("fastlb.health")

UNEXPLAINED = {
    "UP": "in use again",
    "DOWN": "taken out",
    "EJECTED": "taken out by the workers for failing requests",
    "DRAIN": "set to drain",
    "MAINT": "set to maintenance",
}


@dataclass(slots=True)
class Standing:
    """The state of one server or backend: UP, DOWN, DRAIN, MAINT, EJECTED in HAProxy's words."""

    state: str
    since: float  # time.time() of the last change of `state`
    reason: str = ""
    turned: float = 0.0  # of the last change between serving and not serving; 0 = never
    downs: int = 0  # times it went down
    _down_seconds: float = 0.0  # of the ended ones

    def downtime(self, now: float) -> float:
        """Seconds that it was down so far."""
        return self._down_seconds + (max(0.0, now - self.since) if self.state in ("DOWN", "EJECTED") else 0.0)

    def move(self, state: str, reason: str, now: float) -> None:
        """Enters another state."""
        was_down, is_down = self.state in ("DOWN", "EJECTED"), state in ("DOWN", "EJECTED")
        if was_down and not is_down:
            self._down_seconds += max(0.0, now - self.since)
        if was_down != is_down:
            self.turned = now
            self.downs += is_down
        elif was_down:
            self._down_seconds += max(0.0, now - self.since)
        self.state, self.since, self.reason = state, now, reason


@dataclass(slots=True)
class _Member:
    server: Server
    index: int
    epoch: int
    standing: Standing


@dataclass(slots=True)
class _Group:
    backend: Backend
    index: int
    epoch: int
    standing: Standing
    panic: bool = False
    loads: dict[int, int] | None = None  # percent by tier; None = not looked at yet
    members: list[_Member] = field(default_factory=list)


class StateBook:
    """One per supervisor. `apply` with each configuration, `note` with each change that has a reason."""

    def __init__(self, region: Region, events: Events, *, clock: Callable[[], float] = time.time) -> None:
        self._region = region
        self._events = events
        self._clock = clock
        self._groups: dict[str, _Group] = {}
        self._members: dict[ServerId, _Member] = {}
        # Told of each server that is in another state now: backend, server, state.
        self.on_move: Callable[[str, Server, str], None] = lambda backend, server, state: None

    def apply(self, spec: Spec, assignment: Assignment) -> None:
        """Takes over the servers of `spec`; what was known of those that stay is kept. O(servers)."""
        now = self._clock()
        before, self._members = self._members, {}
        groups: dict[str, _Group] = {}
        for backend in spec.backends:
            index = assignment.backends[backend.name]
            old = self._groups.get(backend.name)
            group = _Group(backend, index, -1, Standing("", now))
            if old is not None and old.index == index:
                group.standing, group.panic, group.loads = old.standing, old.panic, old.loads
            groups[backend.name] = group
            for server in backend.servers:
                identity = (backend.name, server.address)
                slot = assignment.servers[identity]
                known = before.get(identity)
                if known is None or known.index != slot:
                    state = describe(self._region.state(slot))
                    reason = "" if server.resolved else "the address of the server is not known"
                    known = _Member(server, slot, self._region.epoch(slot), Standing(state, now, reason))
                known.server = server
                self._members[identity] = known
                group.members.append(known)
        self._groups = groups
        for name in groups:
            self._look_at_group(name, "")

    def server(self, backend: str, server: Server) -> Standing:
        """The state of a server of the current configuration."""
        return self._members[(backend, server.address)].standing

    def backend(self, name: str) -> Standing:
        """The state of a backend: UP as long as one server is."""
        return self._groups[name].standing

    def panic(self, name: str) -> bool:
        """The workers disbelieve the health of a backend's servers: too few are well. As of the last look."""
        return self._groups[name].panic

    def loads(self, name: str) -> Mapping[int, int]:
        """Percent of a backend's requests by tier in use, the backups being the last."""
        return self._groups[name].loads or {}

    def groups(self) -> Mapping[str, Standing]:
        """The state of every backend."""
        return {name: group.standing for name, group in self._groups.items()}

    def note(self, backend: str, server: Server, reason: str, *, level: str = "") -> None:
        """Looks at a server that has just been changed because of `reason`; an event when its state is another."""
        member = self._members.get((backend, server.address))
        if member is None:
            return
        self._look_at(backend, member, reason, level)
        self._look_at_group(backend, reason)

    def sweep(self) -> None:
        """Finds the changes that nobody reported. O(backends), plus the servers of those that changed."""
        for name, group in self._groups.items():
            epoch = self._region.group_epoch(group.index)
            if epoch == group.epoch:
                continue
            group.epoch = epoch
            for member in group.members:
                epoch = self._region.epoch(member.index)
                if epoch != member.epoch:
                    self._look_at(name, member, "", "")
            self._look_at_group(name, "")

    def _look_at(self, backend: str, member: _Member, reason: str, level: str) -> None:
        member.epoch = self._region.epoch(member.index)
        state = describe(self._region.state(member.index))
        standing = member.standing
        if state == standing.state:
            return
        old = standing.state
        standing.move(state, reason or UNEXPLAINED[state], self._clock())
        self._events.add(
            "server", f"{backend}/{member.server.name}", standing.reason, old=old, new=state,
            level=level or ("warning" if state in ("DOWN", "EJECTED") else "info"),
        )  # fmt: skip
        self.on_move(backend, member.server, state)

    def _look_at_group(self, name: str, reason: str) -> None:
        group = self._groups[name]
        self._look_at_state(name, group, reason)
        self._look_at_tiers(name, group)

    def _look_at_state(self, name: str, group: _Group, reason: str) -> None:
        states = [member.standing.state for member in group.members]
        state = "UP" if "UP" in states else "DOWN"
        standing = group.standing
        if state == standing.state:
            return
        old = standing.state
        if not old:  # the first look is no event
            standing.state = state
            return
        text = "no server left" if state == "DOWN" else "has a server again"
        standing.move(state, text + (f": {reason}" if reason else ""), self._clock())
        self._events.add(
            "backend", name, standing.reason, old=old, new=state, level="error" if state == "DOWN" else "info"
        )

    def _look_at_tiers(self, name: str, group: _Group) -> None:
        """Says when panic mode begins and ends, and when load goes to other tiers. What workers do is theirs."""
        region, balance = self._region, group.backend.balance
        now = standing_of(
            (
                (BACKUP if m.server.backup else m.server.tier, region.state(m.index), region.weight(m.index))
                for m in group.members
            ),
            balance.panic_threshold,
            balance.overprovisioning,
        )
        before, group.loads = group.loads, now.loads
        if before is None:  # the first look is no event
            return
        if now.panic != group.panic:
            group.panic = now.panic
            well = f"{now.usable} of {now.eligible} servers are well"
            if now.panic:
                text = f"panic: only {well}, so requests go to all of them"
                log.error("backend %s is in %s", name, text)
            else:
                text = f"panic is over: {well}"
                log.info("backend %s: %s", name, text)
            self._events.add("backend", name, text, level="error" if now.panic else "info")
        if now.loads != before and any(m.server.tier for m in group.members):
            text = "requests go to " + ", ".join(f"{_tier(t)}: {load} %" for t, load in now.loads.items())
            log.warning("backend %s: %s", name, text)
            self._events.add("backend", name, text, level="warning" if set(now.loads) != {0} else "info")


def _tier(number: int) -> str:
    return "the backups" if number == BACKUP else f"tier {number}"
