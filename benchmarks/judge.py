"""Ratios to a baseline of the same run, and whether they are what they usually are.

Subject and baseline take turns in samples of about two milliseconds, and the smallest of each counts: what else runs on
the machine can only add. The ratio of two times in one run knows nothing of how fast the machine is, and little of the
interpreter; what is left of both is why `thresholds.toml` says where it was measured, and elsewhere allows for more.

One process is not enough to condemn: where its memory came to lie makes the same code a tenth faster or slower, as long
as it lives. A suspect is measured in processes of its own (`python -m benchmarks.judge NAME`), and where the table has
its instructions, they decide: code that does not execute more of them got no slower by what was changed, unless it is
slower by so much (`wide`) that memory must be the reason.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import timeit
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.callgrind import ROOT, built_with, instructions
from benchmarks.cases import CASES, Case
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
TRIES = 4  # a ratio that is over the limit is measured again: noise passes, a regression stays
ALONE = 4  # processes of its own that a suspect gets after that


def _is_wide(name: str) -> bool:
    return name in WIDE or name.endswith(LARGE)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the table says. `tolerance` is that of this machine: `same` on the one it was measured on, else `other`."""

    tolerance: float
    usual: dict[str, float]
    wide: float = 0.0  # tolerance of the cases in WIDE, where it is more, and of what executes no more than usual
    exact: float = 0.0  # tolerance of instructions
    counted: dict[str, float] = field(default_factory=dict)  # instructions; none where others built

    def limit(self, name: str) -> float:
        """Largest ratio that passes; KeyError for a case that is not in the table."""
        return self.usual[name] * (1 + (max(self.tolerance, self.wide) if _is_wide(name) else self.tolerance))


def reference() -> str:
    """What of a machine moves ratios: the processor and the interpreter's minor version."""
    about = machine()
    return f"{about['cpu']}, Python {'.'.join(platform.python_version_tuple()[:2])}"


def thresholds(path: Path = TABLE) -> Thresholds:
    data = tomllib.loads(path.read_text())
    tolerance = data["tolerance"]
    return Thresholds(
        tolerance["same" if data["measured_on"] == reference() else "other"],
        data["usual"],
        tolerance.get("wide", 0.0),
        tolerance.get("exact", 0.0),
        data.get("instructions", {}) if data.get("counted_with") == built_with() else {},
    )


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


def alone(*names: str) -> dict[str, float]:
    """The ratios of cases in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.judge", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@dataclass(frozen=True, slots=True)
class Judged:
    """`why` tells what it needed to pass, or that it did not; empty when there was nothing to tell."""

    ratio: float
    passed: bool
    why: str = ""


def judge(name: str, first: float, table: Thresholds) -> Judged:
    """What becomes of a case whose ratio in this process is `first`. Takes seconds when that is over the limit."""
    limit, ratio = table.limit(name), first
    if ratio <= limit:
        return Judged(ratio, True)
    for turn in range(ALONE):
        ratio = min(ratio, alone(name)[name])
        if ratio <= limit:
            return Judged(ratio, True, f"in process {turn + 2}")
    usual, over = table.usual[name], f"{ratio / table.usual[name] - 1:+.0%} in the best of {ALONE + 1} processes"
    if name in table.counted and shutil.which("valgrind"):
        more = instructions([name])[name] / table.counted[name] - 1
        over = f"{over}, instructions {more:+.1%}"
        if more <= table.exact and ratio <= usual * (1 + table.wide):
            return Judged(ratio, True, over)
    return Judged(ratio, False, over)


if __name__ == "__main__":
    print(json.dumps({name: Bench(CASES[name]).measure(float("inf")).ratio for name in sys.argv[1:]}))
