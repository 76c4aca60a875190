"""What a run left behind: seconds with counters and latency histograms, and what can be asked of them.

Latencies are counted in buckets 4 % wide, which any number of processes can add up. The same code runs inside Locust,
where the recorder fills it, and outside, where criteria and the report read it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH = math.log(1.04)
SMALLEST = 1e-5  # seconds


def bucket(seconds: float) -> int:
    """Bucket of a latency: its logarithm, 4 % a step."""
    return max(0, math.ceil(math.log(max(seconds, SMALLEST) / SMALLEST) / WIDTH))


def latency_of(index: int) -> float:
    """Upper end of a bucket in seconds."""
    return SMALLEST * math.exp(index * WIDTH)


def percentile(histogram: Mapping[int, int], share: float) -> float:
    """Latency that `share` of the counted did not exceed; NaN when nothing was counted."""
    total = sum(histogram.values())
    left = math.ceil(total * share)
    for index in sorted(histogram):
        left -= histogram[index]
        if left <= 0:
            return latency_of(index)
    return math.nan


@dataclass(slots=True)
class Second:
    """One second of a run, of all users together. `latency` holds the requests that succeeded."""

    users: int = 0
    requests: int = 0
    good: int = 0  # succeeded within the scenario's goal
    latency: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    servers: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)

    def add(self, other: Second) -> None:
        self.users = max(self.users, other.users)
        self.requests += other.requests
        self.good += other.good
        for mine, theirs in (
            (self.latency, other.latency),
            (self.errors, other.errors),
            (self.servers, other.servers),
            (self.marks, other.marks),
        ):
            mine.update(theirs)  # type: ignore[arg-type]

    def packed(self) -> dict[str, Any]:
        return {
            "users": self.users,
            "requests": self.requests,
            "good": self.good,
            "latency": {str(k): v for k, v in self.latency.items()},
            "errors": dict(self.errors),
            "servers": dict(self.servers),
            "marks": dict(self.marks),
        }

    @classmethod
    def unpacked(cls, data: Mapping[str, Any]) -> Second:
        return cls(
            data["users"],
            data["requests"],
            data["good"],
            Counter({int(k): v for k, v in data["latency"].items()}),
            Counter(data["errors"]),
            Counter(data["servers"]),
            Counter(data["marks"]),
        )


@dataclass(slots=True)
class Usage:
    """What processes used in one second: cores (1.0 = one fully) and resident megabytes."""

    at: float
    peer_cores: float
    peer_mb: float
    load_cores: float
    busiest_load: float  # the busiest Locust process: 1.0 = the generator is the limit
    machine: float  # share of all cores in use


@dataclass(slots=True)
class Outcome:
    """One scenario against one peer."""

    scenario: str
    peer: str
    seconds: int
    users: int
    line: list[Second]
    faults: list[tuple[float, str]] = field(default_factory=list)  # when it was done, and what
    usage: list[Usage] = field(default_factory=list)
    config: str = ""
    version: str = ""
    trouble: list[str] = field(default_factory=list)  # what makes the figures doubtful
    broken: list[str] = field(default_factory=list)  # what did not happen as planned: fails the run
    capacity: float = 0.0  # requests a second that the servers can do together
    workers: int = 0  # Locust processes that asked, on however many machines

    def between(self, begin: float = 0.0, end: float = 1.0) -> Sequence[Second]:
        """Seconds of a part of the time, as shares of it."""
        return self.line[math.floor(begin * self.seconds) : max(1, math.ceil(end * self.seconds))]

    def requests(self, begin: float = 0.0, end: float = 1.0) -> int:
        return sum(s.requests for s in self.between(begin, end))

    def errors(self, begin: float = 0.0, end: float = 1.0) -> Counter[str]:
        return total(s.errors for s in self.between(begin, end))

    def error_share(self, begin: float = 0.0, end: float = 1.0) -> float:
        requests = self.requests(begin, end)
        return sum(self.errors(begin, end).values()) / requests if requests else math.nan

    def percentile(self, share: float, begin: float = 0.0, end: float = 1.0) -> float:
        """Seconds; of requests that succeeded."""
        return percentile(total(s.latency for s in self.between(begin, end)), share)

    def rate(self, begin: float = 0.0, end: float = 1.0) -> float:
        """Requests a second, whatever became of them."""
        return self.requests(begin, end) / max(1, len(self.between(begin, end)))

    def goodput(self, begin: float = 0.0, end: float = 1.0) -> float:
        """Requests a second that succeeded within the scenario's goal."""
        return sum(s.good for s in self.between(begin, end)) / max(1, len(self.between(begin, end)))

    def servers(self, begin: float = 0.0, end: float = 1.0) -> Counter[str]:
        """Answers of each server."""
        return total(s.servers for s in self.between(begin, end))

    def marks(self, begin: float = 0.0, end: float = 1.0) -> Counter[str]:
        """Facts that the journeys counted."""
        return total(s.marks for s in self.between(begin, end))

    def share_of_marks(self, good: str, *others: str) -> float:
        """Share of one mark among several; NaN when there is none of them."""
        marks = self.marks()
        every = marks[good] + sum(marks[o] for o in others)
        return marks[good] / every if every else math.nan


def total(counters: Iterable[Counter[Any]]) -> Counter[Any]:
    """Their sum."""
    result: Counter[Any] = Counter()
    for counter in counters:
        result.update(counter)
    return result
