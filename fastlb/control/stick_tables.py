"""Where stick tables stand in the shared region, and what is in them.

A table is a run of buckets. One whose backend, kind of key and size stay as they are keeps its run over a reload, and
with it its entries. A run that was left is given away once no worker's configuration has it any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastlb._core.region import LIMITS, Region
from fastlb.control.secrets import read_secret
from fastlb.engine.affinity import Affinity
from fastlb.engine.stick_table import StickTable
from fastlb.errors import Problem
from fastlb.spec import Backend, Spec

if TYPE_CHECKING:
    from fastlb.control.slots import Assignment

_Identity = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class Run:
    """Buckets of the region's array."""

    first: int
    buckets: int


def _identity(backend: Backend) -> _Identity:
    rules = backend.affinity
    assert rules is not None
    return backend.name, rules.type, rules.name if rules.type == "learn" else rules.key, rules.buckets


class Tables:
    """Hands out the runs; one per supervisor. Not thread-safe."""

    def __init__(self, size: int = LIMITS["stick_buckets"]) -> None:
        self._size = size
        self._held: dict[_Identity, Run] = {}
        self._retired: dict[_Identity, tuple[int, Run]] = {}
        self.fresh: set[Run] = set()

    def problems(self, spec: Spec) -> Iterable[Problem]:
        """Why the tables of `spec` do not fit beside those that are still in use; nothing is changed."""
        taken = {**self._held, **{name: run for name, (_, run) in self._retired.items()}}
        for backend, wanted in _wanted(spec):
            if wanted in taken:
                continue
            run = _free_run(taken.values(), wanted[-1], self._size)
            if run is None:
                key = f"backends.{backend.name}.affinity.size"
                size = backend.affinity.size if backend.affinity else 0
                yield Problem(key, size, f"no room: all stick tables together have {self._size * 8} entries")
                continue
            taken[wanted] = run

    def update(self, spec: Spec, generation: int) -> None:
        """Retires what `spec` has no longer, then gives a run to what is new. There is room: see `problems`."""
        wanted = [identity for _, identity in _wanted(spec)]
        for gone in [identity for identity in self._held if identity not in wanted]:
            self._retired[gone] = (generation, self._held.pop(gone))
        self.fresh = set()
        for identity in wanted:
            if identity in self._held:
                continue
            if identity in self._retired:
                self._held[identity] = self._retired.pop(identity)[1]
                continue
            taken = [*self._held.values(), *(run for _, run in self._retired.values())]
            run = _free_run(taken, identity[-1], self._size)
            assert run is not None
            self._held[identity] = run
            self.fresh.add(run)

    def reclaim(self, generation: int) -> None:
        """Frees what was retired by `generation` or before: every worker runs that configuration or a later one."""
        for identity in [i for i, (dropped, _) in self._retired.items() if dropped <= generation]:
            del self._retired[identity]

    def by_backend(self) -> dict[str, Run]:
        return {identity[0]: run for identity, run in self._held.items()}


def _wanted(spec: Spec) -> list[tuple[Backend, _Identity]]:
    return [(b, _identity(b)) for b in spec.backends if b.affinity is not None and b.affinity.buckets]


def _free_run(taken: Iterable[Run], buckets: int, size: int) -> Run | None:
    """The first gap that is large enough."""
    at = 0
    for run in sorted(taken, key=lambda run: run.first):
        if run.first - at >= buckets:
            break
        at = run.first + run.buckets
    return Run(at, buckets) if at + buckets <= size else None


def make_affinity(region: Region, worker: int, backend: Backend, assignment: Assignment) -> Affinity:
    """What keeps the clients of a backend at their servers, for one worker."""
    rules = backend.affinity
    assert rules is not None
    run = assignment.tables.get(backend.name)
    table = StickTable(region, run.first, run.buckets, rules.expire, worker) if run else None
    secrets = [read_secret(text) for text in rules.secrets] or [region.secret]
    indices = [assignment.server(backend.name, server.address) for server in backend.servers]
    return Affinity(rules, secrets, backend.name, [str(server.address) for server in backend.servers], indices, table)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stick table."""

    key: str
    server: str  # '' = it left the backend
    idle: float  # seconds since the last request


def entries(region: Region, backend: Backend, run: Run, servers: dict[int, str], now: float, limit: int) -> list[Entry]:
    """What the table of a backend holds, at most `limit` entries; `now` in seconds of the monotonic clock. O(size)."""
    rules = backend.affinity
    assert rules is not None
    table = StickTable(region, run.first, run.buckets, rules.expire)
    return [
        Entry(key.decode("utf-8", "backslashreplace"), servers.get(server, ""), idle)
        for key, server, idle in table.entries(now, limit)
    ]


def used(region: Region, backend: Backend, run: Run, now: float) -> int:
    """How many entries of the table of a backend are in use. O(size)."""
    assert backend.affinity is not None
    return StickTable(region, run.first, run.buckets, backend.affinity.expire).used(now)
