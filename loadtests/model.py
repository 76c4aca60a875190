"""What a scenario is made of: users, how many when, what is behind the balancer, what goes wrong, what must hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from loadtests.timeline import Outcome


@dataclass(frozen=True, slots=True)
class Service:
    """How an origin server works: `slots` requests at a time, each `seconds` long on average (exponential).

    Its capacity is slots / seconds requests a second. `cache` is how many keys of /cache/KEY it remembers.
    """

    seconds: float = 0.004
    slots: int = 64
    cache: int = 100

    @property
    def capacity(self) -> float:
        return self.slots / self.seconds


@dataclass(frozen=True, slots=True)
class Pool:
    """What every peer is configured to do, in terms that all of them have.

    balance      round_robin, least_connections, or hash over `key` (cookie:NAME, header:NAME or path)
    limit        requests at a time of one server; more wait, at most `queue` seconds (nginx has no queue: it refuses)
    rate         requests a second of one client, by the header X-Client; more get 429
    check        seconds between two health checks of one server (nginx has none: it learns from failures)
    header       seconds that a client may take for its request's head
    sticky       a cookie of the balancer's own keeps a client where it was (nginx has none: it hashes `key`)
    """

    servers: int = 4
    balance: str = "least_connections"
    key: str = ""
    limit: int = 0
    queue: float = 2.0
    rate: int = 0
    check: float = 0.5
    header: float = 10.0
    sticky: bool = False
    service: Service = Service()


class Stage(Protocol):
    """What faults act on: the servers, and the balancer's own operations."""

    def kill(self, server: str) -> None: ...
    def start(self, server: str) -> None: ...
    def freeze(self, server: str) -> None: ...
    def thaw(self, server: str) -> None: ...
    def set(self, server: str, **settings: float) -> None: ...
    def drain(self, server: str) -> None: ...
    def ready(self, server: str) -> None: ...
    def await_idle(self, server: str, seconds: float) -> None: ...
    def reload(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens when `at` of the scenario's time has passed (0 to 1)."""

    at: float
    label: str
    do: Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Criterion:
    """What must hold for a scenario to pass, and what is reported for the peers.

    `measure` gives the value; `timing` marks those that a slow machine alone can break: `--slack` widens them.
    """

    text: str
    measure: Callable[[Outcome], float]
    limit: float
    at_least: bool = False
    unit: str = ""
    timing: bool = False

    def judge(self, outcome: Outcome, slack: float = 1.0) -> Verdict:
        value = self.measure(outcome)
        limit = self.limit if not self.timing else self.limit / slack if self.at_least else self.limit * slack
        # NaN, nothing was measured, fulfils nothing
        return Verdict(self, value, limit, value >= limit if self.at_least else value <= limit)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A criterion's value in one run, the limit that applied, and whether it held."""

    criterion: Criterion
    value: float
    limit: float
    held: bool


@dataclass(frozen=True, slots=True)
class Scenario:
    """One campaign. `shape` is (share of the time, share of the users) points, joined by straight lines.

    `users` names classes of loadtests.journeys and their weights. `seconds` and `peak` can be overridden by the
    command line. `goal` is the latency in seconds within which a success counts towards goodput. Where checks and
    recovery take their time whatever the duration, `least` seconds are needed for the criteria to mean anything.
    """

    name: str
    title: str
    story: str
    users: dict[str, int]
    peak: int
    seconds: int
    shape: Sequence[tuple[float, float]]
    pool: Pool = field(default_factory=Pool)
    faults: Sequence[Fault] = ()
    criteria: Sequence[Criterion] = ()
    goal: float = 1.0
    least: int = 3

    def points(self, seconds: float, peak: int) -> list[tuple[float, float]]:
        """The shape in seconds and users."""
        return [(share * seconds, users * peak) for share, users in self.shape]


STEADY = ((0.0, 1.0), (1.0, 1.0))


def steps(count: int) -> tuple[tuple[float, float], ...]:
    """A staircase from 1/count of the users to all of them."""
    points: list[tuple[float, float]] = []
    for i in range(count):
        points += [(i / count, (i + 1) / count), ((i + 1) / count, (i + 1) / count)]
    return tuple(points)


def users_at(points: Sequence[tuple[float, float]], now: float) -> int:
    """Users at `now` seconds; the last point's share after the end. At a step the later value holds."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= now < x1:
            return max(1, round(y0 + (y1 - y0) * (now - x0) / (x1 - x0)))
    return max(1, round(points[-1][1]))
