"""A campaign over several machines, as loadtests/README.md shows it: here they are addresses of the loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastlb.bench.process import tree
from tests.helpers import ROOT, SLOWNESS, free_port, need, wait_until

BALANCER = "127.0.0.2"  # not the one that everything listens on by default


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[int]:
    """Two machines that ask, there before the first; the port that they come to."""
    port = free_port(BALANCER)
    argv = [sys.executable, "-m", "loadtests", "worker", "--master", BALANCER, "--master-port", str(port)]
    logs = [(tmp_path / f"worker{n}").open("w") for n in (1, 2)]
    running = [
        subprocess.Popen([*argv, "--processes", "1"], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT) for log in logs
    ]
    try:
        yield port
        families = [pid for process in running for pid in tree(process.pid)]
        for process in running:
            process.terminate()
        assert [process.wait(20 * SLOWNESS) for process in running] == [143, 143]
        wait_until(
            lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in families), what="the end of all processes"
        )
    finally:
        for process in running:
            process.kill()
            process.wait()
        for log in logs:
            log.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_machines_ask_and_a_third_balances(workers: int, tmp_path: Path) -> None:
    """Two campaigns, one after the other. The goal that nothing can reach is known to the first machine alone."""
    need("haproxy")
    program = (
        "import dataclasses, sys, loadtests.scenarios as s; from loadtests.__main__ import main\n"
        "s.SCENARIOS['reload_under_load'] = dataclasses.replace(s.SCENARIOS['reload_under_load'], goal=0.0)\n"
        "sys.exit(main())"
    )
    argv = [sys.executable, "-c", program, "run", "--remote", "2", "--address", BALANCER, "--master-port", str(workers)]
    argv += ["--peer", "fastlb,haproxy", "--scenario", "reload_under_load", "--users", "20", "--duration", "4"]
    argv += ["--slack", "50", "--out", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=200 * SLOWNESS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = json.loads(next(tmp_path.glob("*.json")).read_text())["runs"]
    assert [run["peer"] for run in runs] == ["fastlb", "haproxy"]
    for run in runs:
        assert (run["broken"], run["workers"]) == ([], 2), run["peer"]
        assert f"{BALANCER}:" in run["config"]
        assert sum(sum(s["servers"].values()) for s in run["line"]) > 30
        assert sum(s["good"] for s in run["line"]) == 0, "the goal was not told to the other machines"
        assert any(usage["busiest_load"] > 0 for usage in run["usage"])
