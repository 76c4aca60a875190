"""The comparison with peers measures what it says it does."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.compare.report import Ratio, markdown, ratio
from benchmarks.compare.workloads import Sample, counted, latency
from fastlb.bench.process import Child, cpu_seconds, memory, tree
from tests.helpers import ROOT, need, wait_until

WRK = """Running 3s test @ http://127.0.0.1:1/small
  Latency Distribution
     50%  990.00us
     75%    1.79ms
     90%    3.67ms
     99%    1.20s
  76351 requests in 3.10s, 19.51MB read
Requests/sec:  24631.58
"""


def test_wrk_output_is_read() -> None:
    assert counted(WRK) == (76351, pytest.approx(3.1))
    assert latency(WRK, "50") == pytest.approx(990.0)
    assert latency(WRK, "90") == pytest.approx(3670.0)
    assert latency(WRK, "99") == pytest.approx(1.2e6)
    assert math.isnan(latency(WRK, "12"))
    assert counted("unable to connect") == (0, 0.0)


def alive(pid: int) -> bool:
    """False for a process that is gone, or that nobody has asked for its exit status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_cpu_of_a_process_tree_is_the_kernels(tmp_path: Path) -> None:
    """A grandchild burns a known amount, as it measures itself, and says so."""
    burn = "import time\nwhile time.process_time() < 0.5: pass\nprint('burnt', flush=True)\ntime.sleep(60)"
    core = min(os.sched_getaffinity(0))
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    child = Child([sys.executable, "-c", outer], core, tmp_path / "out")
    try:
        wait_until(lambda: "burnt" in child.log.read_text(), 60)
        pids = tree(child.pid)
        assert len(pids) == 2
        assert os.sched_getaffinity(pids[1]) == {core}
        assert 0.5 <= cpu_seconds(pids) < 1.0
    finally:
        child.stop()
    wait_until(lambda: not any(alive(pid) for pid in pids), what="the end of all of them")


def test_memory_counts_private_pages(tmp_path: Path) -> None:
    code = "import sys, time\nx = bytearray(32 << 20)\nprint('ready', flush=True)\ntime.sleep(60)"
    child = Child([sys.executable, "-c", code], min(os.sched_getaffinity(0)), tmp_path / "out")
    try:
        wait_until(lambda: "ready" in child.log.read_text(), 60)
        used = memory(tree(child.pid))
        assert 32 << 20 <= used.private <= used.pss <= used.rss < 80 << 20
    finally:
        child.stop()


def test_ratios_are_within_a_round() -> None:
    cpu = {(0, "fastlb"): 10.0, (0, "haproxy"): 20.0, (1, "fastlb"): 30.0, (1, "haproxy"): 40.0, (2, "fastlb"): 1.0}
    samples = [Sample("keepalive", proxy, number, {"cpu_us": v}) for (number, proxy), v in cpu.items()]
    found = ratio(samples, "keepalive", "fastlb", "haproxy", "cpu_us")
    assert found == Ratio(pytest.approx(0.625), pytest.approx(0.25), 2)
    assert ratio(samples, "keepalive", "fastlb", "nginx", "cpu_us") is None
    text = markdown(samples, ["fastlb", "haproxy"], ["fastlb"], {"cpu": "x"})
    assert "0.62 ± 0.12" in text
    assert "≤ 0.90 | met" in text


@pytest.mark.slow
def test_peers_are_measured_side_by_side(tmp_path: Path) -> None:
    for program, package in (("haproxy", "haproxy"), ("nginx", "nginx-light"), ("wrk", "wrk")):
        need(program, package)
    began = time.monotonic()
    argv = ["--proxies", "haproxy,nginx", "--rounds", "1", "--seconds", "1", "--only", "keepalive,idle"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", *argv, "--idle", "300", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    elapsed = time.monotonic() - began
    saved = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert set(saved["configurations"]) == {"haproxy", "nginx", "origin"}
    rows = {(s["workload"], s["proxy"]): s for s in saved["samples"]}
    for proxy in ("haproxy", "nginx"):
        row = rows["keepalive", proxy]
        assert row["errors"] == ""
        assert row["values"]["log_lines"] >= row["values"]["requests"] > 100
        assert 0 < row["values"]["cpu_us"] * row["values"]["requests"] / 1e6 < elapsed
        assert 50 < rows["idle", proxy]["values"]["bytes_each"] < 50_000
