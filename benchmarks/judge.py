"""Ratios to a baseline of the same run, and whether they are what they usually are.

Subject and baseline take turns in samples of about two milliseconds, and the smallest of each counts: what else runs on
the machine can only add. The ratio of two times in one run knows nothing of how fast the machine is, and little of the
interpreter; what is left of both is why `thresholds.toml` says where it was measured, and elsewhere allows for more.
"""

from __future__ import annotations

import platform
import timeit
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from fastlb.bench.machine import machine

TABLE = Path(__file__).with_name("thresholds.toml")
SAMPLE = 0.002  # seconds
PAIRS = 25
# Where threads, page placement or the order of a heap give one build different speeds from one start to the next
WIDE = {"log line/json", *(f"timers {w}/10000" for w in ("later", "sooner"))} | {
    f"use/least_connections/{n}" for n in (10, 100, 1_000)
}
# ... and where tables are larger than a core's caches, which neighbours use too
LARGE = ("/10000", "/100000")
TRIES = 8  # a ratio that is over the limit is measured again: noise passes, a regression stays


def _is_wide(name: str) -> bool:
    return name in WIDE or name.endswith(LARGE)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the table says. `tolerance` is that of this machine: `same` on the one it was measured on, else `other`."""

    tolerance: float
    usual: dict[str, float]
    wide: float = 0.0  # tolerance of the cases in WIDE, where it is more

    def limit(self, name: str) -> float:
        """Largest ratio that passes; KeyError for a case that is not in the table."""
        return self.usual[name] * (1 + (max(self.tolerance, self.wide) if _is_wide(name) else self.tolerance))


def reference() -> str:
    """What of a machine moves ratios: the processor and the interpreter's minor version."""
    about = machine()
    return f"{about['cpu']}, Python {'.'.join(platform.python_version_tuple()[:2])}"


def thresholds(path: Path = TABLE) -> Thresholds:
    data = tomllib.loads(path.read_text())
    here = data["measured_on"] == reference()
    return Thresholds(data["tolerance"]["same" if here else "other"], data["usual"], data["tolerance"].get("wide", 0))


@dataclass(slots=True)
class Measured:
    """Seconds a call, the best of all samples."""

    subject: float
    baseline: float

    @property
    def ratio(self) -> float:
        return self.subject / self.baseline


def _calls(timer: timeit.Timer) -> int:
    """So many calls that a sample lasts about SAMPLE seconds."""
    calls = 1
    while True:
        taken = timer.timeit(calls)
        if taken >= SAMPLE / 2:
            return max(1, round(calls * SAMPLE / taken))
        calls *= 4 if taken < SAMPLE / 10 else 2


class Bench:
    """One case, its names made once."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._names: dict[str, Any] = case.names()
        self.subject = timeit.Timer(case.subject, globals=self._names)
        self._baseline = timeit.Timer(case.baseline, globals=self._names)
        self._before = timeit.Timer(case.before or "pass", globals=self._names)
        for timer in (self.subject, self._baseline):  # the first use builds tables
            timer.timeit(3)
        # where something has to settle before, one call is one sample: more would run into what they wait for
        self.calls = 1 if case.before else _calls(self.subject)
        self._baseline_calls = _calls(self._baseline)
        # what takes long is hardly moved by what else runs for a moment, and must not take minutes
        self._pairs = 4 if self.subject.timeit(1) > 0.1 else PAIRS
        self.best = Measured(float("inf"), float("inf"))

    def settle(self) -> None:
        self._before.timeit(1)

    def round(self) -> None:
        """One sample of each; whoever is first changes nothing, since both are short."""
        self.settle()
        self.best.baseline = min(self.best.baseline, self._baseline.timeit(self._baseline_calls) / self._baseline_calls)
        self.best.subject = min(self.best.subject, self.subject.timeit(self.calls) / self.calls)

    def measure(self, limit: float) -> Measured:
        """The best of PAIRS samples; of more where the ratio is over the limit."""
        for _ in range(TRIES):
            for _ in range(self._pairs):
                self.round()
            if self.best.ratio <= limit:
                break
        return self.best
