"""Circuit breakers, watched: the workers count and decide, whoever owns the region tells people and tidies up.

What needs no request to happen is done here as well: the time limit of a half-open breaker, and flags of a breaker that
the configuration no longer has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fastlb.control.breakers import BreakerStatus, breaker_status, reset_breaker, tick_breaker
from fastlb.control.events import Events
from fastlb.control.region import Region
from fastlb.control.slots import Assignment
from fastlb.spec import Backend, CircuitBreaker, Server, Spec

log = logging.getLogger("fastlb.health")

SWEEP = 1.0  # seconds
LEVELS = {"open": "warning", "half-open": "info", "closed": "info"}


@dataclass(slots=True)
class _Seen:
    """One breaker as it was when somebody was told last."""

    backend: Backend
    server: Server | None  # None: of the backend
    index: int
    rules: CircuitBreaker
    state: str = "closed"
    generation: int = 0

    @property
    def name(self) -> str:
        return f"{self.backend.name}/{self.server.name}" if self.server is not None else self.backend.name


class Breakers:
    """All circuit breakers of one balancer. `start` needs a running loop; tests call `sweep`."""

    def __init__(
        self, region: Region, events: Events, *, on_turn: Callable[[str, Server, str], None] | None = None
    ) -> None:
        """`on_turn(backend, server, reason)` is called after each change of a server's breaker."""
        self._region = region
        self._events = events
        self._on_turn = on_turn
        self._seen: dict[tuple[str, object], _Seen] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Looks every second from now on."""
        self._timer = asyncio.get_running_loop().call_later(SWEEP, self._run)

    def close(self) -> None:
        """Ends that. May be repeated."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP, self._run)
        self.sweep()

    def apply(self, spec: Spec, assignment: Assignment) -> None:
        """Watches the breakers of `spec` from now on; closes those that it does not have. O(servers)."""
        before, self._seen = self._seen, {}
        for backend in spec.backends:
            rules = backend.circuit_breaker
            if rules is None or not (rules.errors or rules.slow):
                continue
            if "backend" in rules.scope:
                self._watch(before, _Seen(backend, None, assignment.backends[backend.name], rules))
            if "server" in rules.scope:
                for server in backend.servers:
                    index = assignment.servers[(backend.name, server.address)]
                    self._watch(before, _Seen(backend, server, index, rules))
        for key, one in before.items():
            if key in self._seen or one.state == "closed":
                continue
            if one.server is None:
                if assignment.backends.get(one.backend.name) == one.index:
                    reset_breaker(self._region, "group", one.index)
            elif assignment.servers.get((one.backend.name, one.server.address)) == one.index:
                reset_breaker(self._region, "server", one.index)

    def _watch(self, before: dict[tuple[str, object], _Seen], one: _Seen) -> None:
        key = (one.backend.name, None if one.server is None else one.server.address)
        old = before.get(key)
        if old is not None and old.index == one.index:
            one.state, one.generation = old.state, old.generation
        self._seen[key] = one

    def sweep(self) -> None:
        """Tells of what changed. O(breakers)."""
        for one in self._seen.values():
            kind: Literal["group", "server"] = "group" if one.server is None else "server"
            tick_breaker(self._region, kind, one.index, one.rules)
            status = breaker_status(self._region, kind, one.index)
            if status.generation != one.generation:
                self._turned(one, status)

    def _turned(self, one: _Seen, status: BreakerStatus) -> None:
        old, one.state, one.generation = one.state, status.state, status.generation
        level, text = LEVELS[status.state], describe(status, one.rules)
        what = "server" if one.server is not None else "backend"
        log.log(
            logging.WARNING if level == "warning" else logging.INFO, "circuit breaker of %s %s %s", what, one.name, text
        )
        self._events.add(what, one.name, f"circuit breaker {text}", level=level, old=old, new=status.state)
        if one.server is not None and self._on_turn is not None:
            self._on_turn(one.backend.name, one.server, f"circuit breaker {text}")


def describe(status: BreakerStatus, rules: CircuitBreaker) -> str:
    """What a breaker does, and why: 'is open for 5 s: 12 of 20 requests failed'."""
    if status.state == "half-open":
        return f"is half open: {rules.trials} requests decide"
    if status.state == "closed":
        return "is closed: enough trials went well"
    failed = {
        "errors": f"{status.bad} of {status.total} requests failed",
        "slow": f"{status.bad} of {status.total} requests took {rules.slow_after:g} s or more",
        "trials": f"{status.bad} of {status.total} trials failed",
    }
    return f"is open for {rules.open:g} s: {failed.get(status.why, 'too many failures')}"
