"""The soak test: its verdicts, and a few seconds of it for real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.soak import Look, judge
from tests.helpers import ROOT, SLOWNESS


def looks(grow_mb: float, grow_files: float) -> list[Look]:
    return [Look(float(t), 50 + grow_mb * t / 100, 100 + round(grow_files * t / 100)) for t in range(100)]


@pytest.mark.parametrize(
    ("grow_mb", "grow_files", "held"),
    [(0, 0, (True, True)), (2, 3, (True, True)), (40, 0, (False, True)), (0, 40, (True, False))],
)
def test_growth_is_told_from_noise(grow_mb: float, grow_files: float, held: tuple[bool, bool]) -> None:
    assert tuple(ok for _, _, ok in judge(looks(grow_mb, grow_files), 100)[:2]) == held


def test_counters_that_grow_are_told() -> None:
    leaking = [Look(float(t), 50, 100, connections=10 + t // 3, in_flight=t // 9) for t in range(100)]
    assert [ok for _, _, ok in judge(leaking, 100)] == [True, True, False, False]


def test_too_few_looks_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="too few"):
        judge(looks(0, 0)[:3], 100)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_short_soak(tmp_path: Path) -> None:
    """Memory is still warming up in so short a time: the counters and the requests are what is asserted."""
    argv = [sys.executable, "-m", "loadtests", "soak", "--duration", "5", "--users", "15", "--processes", "1"]
    done = subprocess.run(
        [*argv, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=90 * SLOWNESS, check=False
    )
    assert (tmp_path / "soak.json").exists(), (done.stdout + done.stderr)[-2000:]
    facts = {what: (told, held) for what, told, held in json.loads((tmp_path / "soak.json").read_text())["facts"]}
    assert facts["open or in flight after the load"] == ("0", True)
    assert facts["requests that failed"][1], done.stdout
    assert facts["requests that the balancer counted"][1], done.stdout
    assert facts["the balancer ran on"][1]
    assert "<svg" in (tmp_path / "soak.html").read_text()
