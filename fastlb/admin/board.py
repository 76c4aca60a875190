"""Everything there is to show, read at one moment: a row for each frontend, backend and server.

The shared region is read first and shown afterwards, so that the figures of one answer belong together; the reading
itself gives way to the loop every few hundred servers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from fastlb.admin.discover import SourceRow, source_rows
from fastlb.admin.sampler import Kind, Pace, Sampler, totals_of
from fastlb.control import counters as c
from fastlb.control.region import DRAIN, EJECTED, FULL_RAMP, MAINT, UP
from fastlb.control.server_state import describe
from fastlb.control.state_book import Standing
from fastlb.control.tiers import BACKUP, TierStanding, standing_of
from fastlb.runtime.extras import AgentStatus, CheckStatus, Running
from fastlb.spec import Backend, Frontend, Server

BATCH = 256  # servers that are read, or written out, before others get their turn


@dataclass(slots=True)
class Row:
    """One frontend, backend or server."""

    kind: Kind
    index: int  # in the shared region
    proxy: str  # name of the frontend or backend
    totals: list[int]  # counters, see fastlb.control.counters
    pace: Pace | None  # rates; None where nobody samples

    def __getitem__(self, counter: int) -> int:
        return self.totals[counter]


@dataclass(slots=True)
class FrontendRow(Row):
    frontend: Frontend
    addresses: list[tuple[str, int] | str]
    limit: int  # client connections over all workers, 0 = unlimited


@dataclass(slots=True)
class ServerRow(Row):
    group: int  # index of the backend
    backend: Backend
    server: Server
    flags: int
    weight: int  # set, 0-65535
    ramp: int  # slow start, of 65536
    limit: int  # requests at once over all workers, 0 = unlimited
    inflight: int
    standing: Standing
    check: CheckStatus | None  # None: not checked
    agent: AgentStatus | None  # None: has none
    pool_limit: int  # idle connections kept over all workers

    @property
    def state(self) -> str:
        """UP, DOWN, EJECTED, DRAIN or MAINT, as of this reading."""
        return describe(self.flags)

    @property
    def peak(self) -> int:
        """Most requests in flight at once: the sum of each worker's most, which is an upper bound, within the limit."""
        return min(self.totals[c.PEAK], self.limit) if self.limit else self.totals[c.PEAK]

    @property
    def eligible(self) -> bool:
        """The operator wants it to get requests."""
        return self.weight > 0 and not self.flags & (DRAIN | MAINT)

    @property
    def usable(self) -> bool:
        """Gets requests, except when the whole backend is in panic."""
        return self.eligible and self.flags & (UP | EJECTED) == UP

    @property
    def effective_weight(self) -> int:
        """The weight with slow start taken into account; at least 1 unless it is set to 0."""
        return max(1, self.weight * self.ramp // FULL_RAMP) if self.weight else 0


@dataclass(slots=True)
class BackendRow(Row):
    backend: Backend
    standing: Standing
    servers: list[ServerRow] = field(default_factory=list)
    sources: list[SourceRow] = field(default_factory=list)

    @property
    def state(self) -> str:
        """UP while a server is."""
        return self.standing.state

    def usable(self, *, backup: bool) -> int:
        """Servers that get requests, of the main tier or of the backups."""
        return sum(row.usable for row in self.servers if row.server.backup is backup)

    @property
    def panic(self) -> bool:
        """So few servers are usable that the workers use all; they decide it from the same flags (balance.tiers)."""
        return self._tiers.panic

    @property
    def loads(self) -> dict[int, int]:
        """Percent of the requests by tier in use."""
        return self._tiers.loads

    @property
    def _tiers(self) -> TierStanding:
        balance = self.backend.balance
        servers = ((BACKUP if r.server.backup else r.server.tier, r.flags, r.weight) for r in self.servers)
        return standing_of(servers, balance.panic_threshold, balance.overprovisioning)

    def summed(self, counter: int) -> int:
        """A counter that only servers have."""
        return sum(row.totals[counter] for row in self.servers)


class Board:
    """Reads rows. Not thread-safe."""

    def __init__(self, running: Running, sampler: Sampler) -> None:
        self.running = running
        self.sampler = sampler

    def frontends(self) -> list[FrontendRow]:
        """All of the current configuration, in its order."""
        service = self.running.service
        addresses = service.listeners.addresses()
        rows = []
        for frontend in service.spec.frontends:
            index = service.assignment.frontends[frontend.name]
            totals = service.past.totals("frontend", index, totals_of(service.region, "frontend", index))
            limit = frontend.max_connections
            pace = self.sampler.pace("frontend", index)
            where = addresses.get(frontend.name, [])
            rows.append(FrontendRow("frontend", index, frontend.name, totals, pace, frontend, where, limit))
        return rows

    def backend(self, backend: Backend) -> BackendRow:
        """The backend without its servers."""
        service = self.running.service
        index = service.assignment.backends[backend.name]
        totals = service.past.totals("group", index, totals_of(service.region, "group", index))
        standing = service.book.backend(backend.name)
        pace, sources = self.sampler.pace("group", index), source_rows(service, backend)
        return BackendRow("group", index, backend.name, totals, pace, backend, standing, sources=sources)

    def server(self, backend: Backend, server: Server) -> ServerRow:
        """One server of the current configuration."""
        service = self.running.service
        region = service.region
        index = service.assignment.servers[(backend.name, server.address)]
        return ServerRow(
            "server",
            index,
            backend.name,
            service.past.totals("server", index, region.server_totals(index)),
            self.sampler.pace("server", index),
            service.assignment.backends[backend.name],
            backend,
            server,
            region.state(index),
            region.weight(index),
            region.ramp(index),
            region.limit(index),
            region.inflight(index),
            service.book.server(backend.name, server),
            service.monitor.status(backend.name, server),
            service.monitor.agent(backend.name, server),
            backend.pool.size * max(service.workers, 1),
        )

    async def backends(self, *, servers: bool = True) -> list[BackendRow]:
        """All of the current configuration, with their servers unless told not to. A reload in between is not seen."""
        rows = []
        spec = self.running.service.spec
        done = 0
        for backend in spec.backends:
            row = self.backend(backend)
            rows.append(row)
            for server in backend.servers if servers else ():
                done += 1
                if done % BATCH == 0:
                    await asyncio.sleep(0)
                    if self.running.service.spec is not spec:
                        return await self.backends()
                row.servers.append(self.server(backend, server))
        return rows

    def find_backend(self, name: str) -> Backend | None:
        """By name."""
        return next((b for b in self.running.service.spec.backends if b.name == name), None)

    def find(self, backend: str, server: str) -> tuple[Backend, Server] | None:
        """By names; a server also by its address."""
        group = self.find_backend(backend)
        if group is None:
            return None
        for one in group.servers:
            if one.name == server:
                return group, one
        return next(((group, one) for one in group.servers if str(one.address) == server), None)

    @property
    def up_seconds(self) -> float:
        """Since the program started."""
        return max(0.0, time.time() - self.running.started_at)


async def in_turns(lines: Iterable[str]) -> AsyncIterator[bytes]:
    """Passes text on piece by piece as UTF-8, giving way to the loop between two pieces."""
    for text in lines:
        if text:
            yield text.encode()
        await asyncio.sleep(0)
