"""Stable indices into the shared region for frontends, backends and servers.

What keeps its identity over a reload (frontend and backend: the name; server: backend and address) keeps its index, and
with it its shared line: requests in flight, health, counters. An index whose holder left the configuration is given to
a new holder only after every worker runs a configuration without the old one and the last use of the old one ended.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fastlb._core.region import LIMITS
from fastlb.control.stick_tables import Run, Tables
from fastlb.errors import ConfigError, Problem
from fastlb.spec import Address, Spec

ServerId = tuple[str, Address]
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Index of everything in one Spec. Travels to the workers beside it; never edited."""

    generation: int = 0  # goes up with each configuration applied
    frontends: Mapping[str, int] = field(default_factory=dict)
    backends: Mapping[str, int] = field(default_factory=dict)
    servers: Mapping[ServerId, int] = field(default_factory=dict)
    tables: Mapping[str, Run] = field(default_factory=dict)  # stick tables, by backend

    def server(self, backend: str, address: Address) -> int:
        """Index of the server; KeyError when the Spec has no such one."""
        return self.servers[(backend, address)]


@dataclass(frozen=True, slots=True)
class Fresh:
    """Names whose lines in the region are not theirs yet."""

    frontends: frozenset[str]
    backends: frozenset[str]
    servers: frozenset[ServerId]
    tables: frozenset[Run]  # runs of buckets that another table may have left something in


class _Table(Generic[K]):
    """Indices of one kind. Lowest free index first, so that the touched part of the region stays dense."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held: dict[K, int] = {}
        self.free: list[int] = []  # heap
        self.retired: dict[K, tuple[int, int]] = {}  # generation that dropped it, index
        self.fresh: set[K] = set()  # given an index by the last update
        self.high = 0

    def available(self) -> int:
        return len(self.free) + self.size - self.high

    def update(self, wanted: Iterable[K], generation: int) -> None:
        """Retires what is not wanted, then gives an index to what is new. The caller checked that there is room.

        What comes back before its index was reclaimed gets that one again: it may be in use still.
        """
        keep = dict.fromkeys(wanted)
        for key in [key for key in self.held if key not in keep]:
            self.retired[key] = (generation, self.held.pop(key))
        self.fresh = set()
        for key in keep:
            if key not in self.held:
                if key in self.retired:
                    self.held[key] = self.retired.pop(key)[1]
                else:
                    self.held[key] = self._take()
                    self.fresh.add(key)

    def _take(self) -> int:
        if self.free:
            return heapq.heappop(self.free)
        self.high += 1
        return self.high - 1

    def reclaim(self, generation: int, busy: Callable[[int], bool]) -> int:
        done = [key for key, (dropped, index) in self.retired.items() if dropped <= generation and not busy(index)]
        for key in done:
            heapq.heappush(self.free, self.retired.pop(key)[1])
        return len(done)


class Slots:
    """Hands out the indices; one per supervisor. Not thread-safe."""

    def __init__(
        self,
        *,
        frontends: int = LIMITS["frontends"],
        backends: int = LIMITS["groups"],
        servers: int = LIMITS["servers"],
    ) -> None:
        self._frontends: _Table[str] = _Table(frontends)
        self._backends: _Table[str] = _Table(backends)
        self._servers: _Table[ServerId] = _Table(servers)
        self._tables = Tables()
        self._generation = 0

    @property
    def generation(self) -> int:
        """Of the last assignment; 0 = none yet."""
        return self._generation

    def assign(self, spec: Spec) -> Assignment:
        """The indices for `spec`, which becomes the current configuration.

        Raises ConfigError, with nothing changed, when there are more of a kind than the region holds. O(n).
        """
        frontends = [f.name for f in spec.frontends]
        backends = [b.name for b in spec.backends]
        servers = [(b.name, s.address) for b in spec.backends for s in b.servers]
        problems = [
            *_check("frontends", self._frontends, frontends),
            *_check("backends", self._backends, backends),
            *_check("servers", self._servers, servers),
            *self._tables.problems(spec),
        ]
        if problems:
            raise ConfigError(problems)
        self._generation += 1
        self._frontends.update(frontends, self._generation)
        self._backends.update(backends, self._generation)
        self._servers.update(servers, self._generation)
        self._tables.update(spec, self._generation)
        return Assignment(
            self._generation,
            dict(self._frontends.held),
            dict(self._backends.held),
            dict(self._servers.held),
            self._tables.by_backend(),
        )

    def fresh(self) -> Fresh:
        """What the last assignment gave an index that nobody has used, or none since it was reclaimed."""
        return Fresh(
            frozenset(self._frontends.fresh),
            frozenset(self._backends.fresh),
            frozenset(self._servers.fresh),
            frozenset(self._tables.fresh),
        )

    def retired_servers(self) -> list[int]:
        """Indices of servers that left the configuration and were not reclaimed yet."""
        return [index for _, index in self._servers.retired.values()]

    def reclaim(
        self,
        generation: int,
        *,
        frontend_busy: Callable[[int], bool] = lambda index: False,
        backend_busy: Callable[[int], bool] = lambda index: False,
        server_busy: Callable[[int], bool] = lambda index: False,
    ) -> int:
        """Frees retired indices once every worker has acknowledged `generation`; returns how many.

        One that is busy (a request of the old configuration is still on it) stays retired until a later call.
        """
        self._tables.reclaim(generation)
        return (
            self._frontends.reclaim(generation, frontend_busy)
            + self._backends.reclaim(generation, backend_busy)
            + self._servers.reclaim(generation, server_busy)
        )


def _check(kind: str, table: _Table[K], wanted: list[K]) -> list[Problem]:
    new = len({key for key in wanted if key not in table.held and key not in table.retired})
    if new <= table.available():
        return []
    return [Problem(kind, len(wanted), f"too many: {new} new ones, room for {table.available()} of {table.size}")]
