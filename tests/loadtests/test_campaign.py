"""A whole campaign, short: servers, peers, Locust, faults, verdicts, report. What it measures is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT, SLOWNESS, need


def campaign(*arguments: str, out: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "loadtests", "run", "--no-limits", "--slack", "50", "--out", str(out), *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=100 * SLOWNESS, check=False)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_short_campaign(tmp_path: Path) -> None:
    need("haproxy")
    """In two slices, since no two runs fit into a tenth of a second: what the first one did is in the report."""
    options = ["--peer", "fastlb,haproxy", "--scenario", "reload_under_load", "--users", "20", "--duration", "4"]
    options += ["--resume", str(tmp_path / "kept"), "--slice", "0.1"]
    first = campaign(*options, out=tmp_path)
    assert first.returncode == 75, first.stdout + first.stderr
    done = campaign(*options, out=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reload_under_load" in done.stdout
    saved = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert [run["peer"] for run in saved["runs"]] == ["fastlb", "haproxy"]
    assert "  fastlb  " not in done.stdout, "it ran twice"
    for run in saved["runs"]:
        assert run["broken"] == [], run["peer"]
        assert [label for _, label in run["faults"]] == ["reload"] * 8
        answered = sum(sum(s["servers"].values()) for s in run["line"])
        assert answered > 30
        assert sum(sum(s["latency"].values()) for s in run["line"]) == answered
        assert {name for s in run["line"] for name in s["servers"]} == {"s1", "s2", "s3", "s4"}
        assert run["line"][-1]["requests"] > 0, "the generator went home early"
    assert next(tmp_path.glob("*.html")).stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_missed_criterion_fails_the_run(tmp_path: Path) -> None:
    """Baskets live in one server each: with a configuration that spreads visitors they get lost, and that must show."""
    program = (
        "import dataclasses, sys, loadtests.scenarios as s; from loadtests.__main__ import main\n"
        "old = s.SCENARIOS['sticky_sessions']\n"
        "pool = dataclasses.replace(old.pool, balance='round_robin', key='', sticky=False)\n"
        "s.SCENARIOS['sticky_sessions'] = dataclasses.replace(old, pool=pool)\n"
        "sys.exit(main())"
    )
    argv = [sys.executable, "-c", program, "run", "--no-limits", "--peer", "fastlb", "--scenario", "sticky_sessions"]
    argv += ["--users", "15", "--duration", "3", "--processes", "1", "--out", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=100 * SLOWNESS, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "baskets kept" in done.stdout
