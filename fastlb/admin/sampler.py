"""Rates, their maxima, and two minutes of history, found by reading the shared counters once a second.

What is sampled: every frontend and backend, and every server as long as there are no more than EAGER_SERVERS. Beyond
that a server is sampled while somebody looks at it, at most WATCHED_SERVERS of them: memory and time stay bounded.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable, Hashable, Iterable
from typing import Literal

from fastlb.control import counters as c
from fastlb.control.region import Mark, Region
from fastlb.control.slots import Assignment

Kind = Literal["frontend", "group", "server"]

HISTORY = 120  # seconds
EAGER_SERVERS = 1000
WATCHED_SERVERS = 1000
WATCH_FOR = 60.0  # seconds that a server is sampled after somebody looked at it
WINDOW = 30.0  # recent latencies are those of the last one to two windows
AVERAGED = 1024  # requests that HAProxy's average times are taken over


class Pace:
    """What the samples of one frontend, backend or server say. Rates are per second."""

    __slots__ = (
        "_last", "_newer", "_next", "_older", "_seen_at", "_tick", "_window_at", "conn_rate", "conn_rate_max",
        "index", "kind", "means", "owner", "p99s", "rate", "rate_max", "rates", "samples", "used_at",
        "wanted_until",
    )  # fmt: skip

    def __init__(self, kind: Kind, index: int, owner: Hashable, now: float) -> None:
        self.kind: Kind = kind
        self.index = index
        self.owner = owner  # who holds the index: a name, or the identity of a server
        self.rate = 0.0  # requests ended
        self.rate_max = 0.0
        self.conn_rate = 0.0  # connections accepted, or opened to the server
        self.conn_rate_max = 0.0
        self.used_at = 0.0  # time.time() of the last sample in which there were requests; 0 = never
        self.means = [0.0, 0.0, 0.0, 0.0]  # queue, connect, response, total: microseconds over the last 1024 requests
        self.samples = 0
        self.rates = array("f", bytes(4 * HISTORY))  # rings
        self.p99s = array("f", bytes(4 * HISTORY))  # microseconds; 0 = no request in that second
        self.wanted_until = 0.0
        self._next = 0
        self._last: list[int] | None = None
        self._seen_at = now
        self._tick = Mark()
        self._older = Mark()
        self._newer = Mark()
        self._window_at = now

    def take(self, region: Region, now: float, wall: float) -> None:
        """One sample at `now` (monotonic seconds) and `wall` (time.time()). O(workers)."""
        totals = totals_of(region, self.kind, self.index)
        last, elapsed = self._last, now - self._seen_at
        self._last, self._seen_at = totals, now
        p99 = 0.0
        if last is None:  # the first look: what happened before has no rate, but may have averages
            for mark in (self._tick, self._older, self._newer):
                region.quantiles(self.kind, self.index, c.TIME_TOTAL, (), None, mark)
            self._average(totals, [0] * len(totals))
        elif elapsed > 0:
            requests = _grown(totals, last, c.REQUESTS)
            self.rate = requests / elapsed
            self.conn_rate = _grown(totals, last, c.CONNECTIONS) / elapsed
            self.rate_max = max(self.rate_max, self.rate)
            self.conn_rate_max = max(self.conn_rate_max, self.conn_rate)
            if requests:
                self.used_at = wall
                self._average(totals, last)
                _, (p99,) = region.quantiles(self.kind, self.index, c.TIME_TOTAL, (0.99,), self._tick, self._tick)
        self.rates[self._next] = self.rate
        self.p99s[self._next] = p99
        self._next = (self._next + 1) % HISTORY
        self.samples += 1
        if now - self._window_at >= WINDOW:
            self._older, self._newer = self._newer, self._older
            region.quantiles(self.kind, self.index, c.TIME_TOTAL, (), None, self._newer)
            self._window_at = now

    def recent(self, region: Region, shares: tuple[float, ...]) -> tuple[int, list[float]]:
        """(requests, microseconds that each share of them took at most) of the last 30 to 60 seconds."""
        return region.quantiles(self.kind, self.index, c.TIME_TOTAL, shares, self._older)

    def history(self) -> tuple[list[float], list[float]]:
        """Requests/s and p99 microseconds of the last seconds, oldest first; as many as there are."""
        n, at = min(self.samples, HISTORY), self._next
        if n < HISTORY:
            return self.rates[:n].tolist(), self.p99s[:n].tolist()
        return (self.rates[at:] + self.rates[:at]).tolist(), (self.p99s[at:] + self.p99s[:at]).tolist()

    def _average(self, totals: list[int], last: list[int]) -> None:
        """Sliding averages over about 1024 requests, as HAProxy reports them, taken in by batches."""
        n = _grown(totals, last, c.REQUESTS)
        if not n:
            return
        # n steps of avg += (x - avg) / 1024 with the same x; up to 1024 requests in all it is the plain mean.
        total = totals[c.REQUESTS]
        share = n / total if total <= AVERAGED else 1 - (1 - 1 / AVERAGED) ** n
        for i in range(4):
            mean = _grown(totals, last, c.QUEUE_US + i) / n
            self.means[i] += (mean - self.means[i]) * share


def _grown(totals: list[int], last: list[int], counter: int) -> int:
    """By how much a counter grew. Less than before means that the line was given to a new holder, which began at 0."""
    now, before = totals[counter], last[counter]
    return now - before if now >= before else now


def totals_of(region: Region, kind: Kind, index: int) -> list[int]:
    """The counters of one frontend, backend or server over all workers."""
    if kind == "server":
        return region.server_totals(index)
    return region.frontend_totals(index) if kind == "frontend" else region.group_totals(index)


class Sampler:
    """Samples everything of the current assignment. `start` on a running loop, `stop` ends it."""

    def __init__(
        self,
        region: Region,
        assignment: Callable[[], Assignment],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._region = region
        self._assignment = assignment
        self._clock = clock
        self._wall = wall
        self._generation = -1
        self._paces: dict[tuple[Kind, int], Pace] = {}
        self._servers: dict[int, Hashable] = {}
        self._eager = True
        self._timer: asyncio.TimerHandle | None = None
        self._on_tick: list[Callable[[], None]] = []

    @property
    def every_server(self) -> bool:
        """False when servers are sampled only while somebody looks at them."""
        return self._eager

    def start(self, *also: Callable[[], None]) -> None:
        """Samples now and every second; calls `also` before each sample."""
        self._on_tick = list(also)
        self._tick(asyncio.get_running_loop(), asyncio.get_running_loop().time())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        # From the time it was due, so that samples do not drift; from now when the loop stood still for longer.
        due = due + 1.0 if loop.time() < due + 1.0 else loop.time() + 1.0
        self._timer = loop.call_at(due, self._tick, loop, due)
        for call in self._on_tick:
            call()
        self.sample()

    def sample(self) -> None:
        """Takes one sample of everything. O(frontends + backends + sampled servers)."""
        self._follow()
        now, wall, region = self._clock(), self._wall(), self._region
        for pace in self._paces.values():
            pace.take(region, now, wall)

    def pace(self, kind: Kind, index: int) -> Pace | None:
        """What is known; None of a server that is not sampled."""
        return self._paces.get((kind, index))

    def want(self, servers: Iterable[int]) -> None:
        """Somebody looks at these servers now."""
        if self._eager:
            return
        now = self._clock()
        watched = sum(1 for kind, _ in self._paces if kind == "server")
        for index in servers:
            pace = self._paces.get(("server", index))
            if pace is None:
                if watched >= WATCHED_SERVERS or index not in self._servers:
                    continue
                watched += 1
                pace = self._paces[("server", index)] = Pace("server", index, self._servers[index], now)
                pace.take(self._region, now, self._wall())
            pace.wanted_until = now + WATCH_FOR

    def _follow(self) -> None:
        """Keeps the set of what is sampled in step with the assignment and with who looks."""
        assignment = self._assignment()
        now = self._clock()
        if assignment.generation != self._generation:
            self._generation = assignment.generation
            self._servers = {index: identity for identity, index in assignment.servers.items()}
            self._eager = len(self._servers) <= EAGER_SERVERS
            owners: dict[tuple[Kind, int], Hashable] = {("frontend", i): n for n, i in assignment.frontends.items()}
            owners |= {("group", i): n for n, i in assignment.backends.items()}
            owners |= {
                ("server", i): n for i, n in self._servers.items() if self._eager or ("server", i) in self._paces
            }
            before, self._paces = self._paces, {}
            for key, owner in owners.items():
                known = before.get(key)
                self._paces[key] = known if known and known.owner == owner else Pace(*key, owner, now)
        if not self._eager:
            for key in [k for k, pace in self._paces.items() if k[0] == "server" and pace.wanted_until < now]:
                del self._paces[key]
