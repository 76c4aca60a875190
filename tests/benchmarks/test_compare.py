"""The comparison with peers measures what it says it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from fastlb import parse
from fastlb.bench import report_page, saved
from fastlb.bench.cells import request
from fastlb.bench.compare import arguments
from fastlb.bench.load import Generator
from fastlb.bench.own import scene_of_file
from fastlb.bench.peers import Setup
from fastlb.bench.peers_more import PEERS
from fastlb.bench.plan import Plan, bounded
from fastlb.bench.process import Child, cpu_seconds, memory, tree
from fastlb.bench.report import Ratio, markdown, ratio
from fastlb.bench.scene import Scene
from fastlb.bench.workloads import WORKLOADS, Sample, percentile
from fastlb.testing import Hang, Origin, by_path, respond
from tests.helpers import ROOT, SLOWNESS, free_port, need, wait_until


def test_generator_counts_what_it_was_answered() -> None:
    with Origin(by_path({"/ok": respond(b"hello"), "/no": respond(b"x", status=404)})) as origin:
        found = Generator("127.0.0.1", origin.address[1], request("/ok"), connections=3).run(0.2)
        assert found["answers"] > 3
        assert (found["errors"], found["refused"]) == (0, 0)
        assert found["bytes"] == 5 * found["answers"]
        assert sum(found["latencies"].values()) == found["answers"]
        found = Generator("127.0.0.1", origin.address[1], request("/no"), connections=1).run(0.2)
        assert found["refused"] == found["answers"] > 0
    found = Generator("127.0.0.1", free_port(), request("/"), connections=2).run(0.1)
    assert found["answers"] == 0
    assert found["errors"] > 0


def test_connections_are_open_before_anything_counts() -> None:
    with Origin(by_path({"/ok": respond(b"hello")})) as origin:
        generator = Generator("127.0.0.1", origin.address[1], request("/ok"), connections=150)
        assert generator.prepare() == 150
        found = generator.run(0.2)
        assert found["answers"] > 0
        assert found["bytes"] == 5 * found["answers"]
        assert sum(found["latencies"].values()) == found["answers"]
    with Origin([Hang()]) as origin, pytest.raises(TimeoutError, match="2 of 2 connections"):
        Generator("127.0.0.1", origin.address[1], request("/"), connections=2).prepare(0.2)


def test_a_stall_is_felt_by_all_who_were_due() -> None:
    """Open loop: a server that never answers makes every request that was due wait, not the one on the wire alone."""
    with Origin([Hang()]) as origin:
        found = Generator("127.0.0.1", origin.address[1], request("/"), connections=1, rate=200).run(0.5)
    assert found["answers"] == 0
    assert 90 <= sum(found["latencies"].values()) <= 101
    assert max(found["latencies"]) >= 480_000
    # evenly from nothing to half a second: coordinated omission would leave one entry
    assert 0.15e6 <= percentile(found["latencies"], 0.5) <= 0.35e6


OWN = """
[global]
workers = 4
user = "nobody"
[admin]
listen = "127.0.0.1:1"
[frontends.web]
listen = [":80", ":81"]
backend = "app"
rate_limits = "10/s"
  [[frontends.web.routes]]
  path = "/api/*"
  headers = { "X-Odd Key" = "a \\"b\\"" }
  backend = "api"
[backends.app]
balance = { algorithm = "least_connections", panic_threshold = 0.3 }
health_check = { path = "/x" }
  [[backends.app.servers]]
  address = "10.0.0.1:80"
  weight = 3
  [[backends.app.servers]]
  address = "10.0.0.2:80"
[backends.api]
servers = ["10.0.0.3:1", "unix:/run/a.sock"]
"""


def test_a_configuration_of_ones_own_becomes_a_scene() -> None:
    scene, notes = scene_of_file(OWN, ports=(1001, 1002))
    assert (scene.servers, scene.weights, scene.balance) == ((1001, 1002), (3, 1), "least_connections")
    data = tomllib.loads(scene.extra)
    assert data["frontends"]["web"]["listen"] == "127.0.0.1:@PORT@"
    assert data["frontends"]["web"]["routes"][0]["headers"] == {"X-Odd Key": 'a "b"'}
    addresses = {s["address"] for b in data["backends"].values() for s in b["servers"]}
    assert addresses == {"127.0.0.1:1001", "127.0.0.1:1002"}, "nothing but stand-ins is asked"
    assert data["global"] == {"workers": 1}
    assert "admin" not in data
    assert "health_check" not in data["backends"]["app"]
    assert {n.split(": ")[-1].split()[0] for n in notes} >= {"routes", "rate_limits", "health_check"}
    assert parse(scene.extra.replace("@PORT@", "8080").replace("@LOG@", "off").replace("X-Odd Key", "X-Odd")).backends
    assert not scene.secure
    tls = OWN.replace('[":80", ":81"]', '[":80", { address = ":443", tls = { cert = "/site.pem" } }]')
    assert scene_of_file(tls, ports=(1001, 1002))[0].secure
    with pytest.raises(ValueError, match="no frontend 'other'"):
        scene_of_file(OWN, "other")


def test_every_example_can_be_measured() -> None:
    for path in sorted((ROOT / "docs" / "examples").glob("*.toml")):
        scene, _ = scene_of_file(path.read_text(), ports=(1001, 1002, 1003))
        assert "@PORT@" in scene.extra, path.name


def test_a_bound_of_minutes_is_kept() -> None:
    plan = Plan(WORKLOADS, ("fastlb", "haproxy", "nginx"), 3.0, 5)
    shorter = bounded(plan, 15)
    assert plan.duration() > 15 * 60 >= shorter.duration()
    assert shorter.workloads == plan.workloads
    assert (bounded(plan, 0.1).rounds, bounded(plan, 0.1).seconds) == (2, 0.6)


def test_page_and_readme_tell_what_was_measured() -> None:
    samples = []
    for number, factor in enumerate((1.0, 1.1, 3.0)):
        for proxy, cpu in (("fastlb", 10.0), ("haproxy", 20.0)):
            values = {"cpu_us": cpu, "rps": 1e6 / cpu, "rate": 0.0, "p99_us": 9.0}
            samples.append(Sample("keepalive", proxy, number, values, latencies={100: 9, 900: 1}))
            wide = {**values, "cpu_us": cpu * (factor if proxy == "fastlb" else 1)}
            samples.append(Sample("close", proxy, number, wide))
            late = {**values, "rate": 500.0}
            samples.append(Sample("latency50%", proxy, number, late, latencies={100: 9, 900: 1}))
    about = {"cpu": "x", "cores": "2", "kernel": "6.1-y", "fastlb": "f", "haproxy": "h"}
    raw = {
        "machine": about,
        "rounds": 3,
        "seconds": 1.0,
        "missing": ["a <note>"],
        "configurations": {"fastlb": {"s": "t"}},
    }
    table = report_page.readme_table(samples, ["fastlb", "haproxy"], raw)
    assert "| keep-alive, 120 bytes | 10.0 | 20.0 | 0.50 ± 0.00 |" in table
    assert "spread too wide" in next(line for line in table.splitlines() if "a connection for each request" in line)
    page = report_page.html(samples, ["fastlb", "haproxy"], ["fastlb"], raw)
    assert page.count("<svg") >= 4
    assert "a &lt;note&gt;" in page


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_every_peer_gets_a_configuration(tmp_path: Path, mode: str) -> None:
    for name, kind in PEERS.items():
        if mode not in kind.modes:
            continue
        proxy = kind(Setup({0}, 0, tmp_path))
        proxy.port, proxy.scene = 4711, Scene((5001, 5002), (3, 1), mode=mode)
        text = proxy.configuration()
        assert all(port in text for port in ("4711", "5001", "5002")), name
        if name == "fastlb":
            assert len(parse(text).backends[0].servers) == 2
        if name in ("envoy", "caddy"):
            json.loads(text)


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


def test_who_fails_requests_is_not_compared() -> None:
    """A proxy that refuses nine of ten answers cheaply: that is no figure to be beaten by."""
    found = {"fastlb": (20.0, 0.0), "haproxy": (30.0, 0.009), "nginx": (10.0, 0.91)}
    samples = [
        Sample("keepalive", proxy, number, {"cpu_us": cpu, "failed": lost if number else 0.0})
        for proxy, (cpu, lost) in found.items()
        for number in range(2)
    ]
    assert ratio(samples, "keepalive", "fastlb", "haproxy", "cpu_us") == Ratio(pytest.approx(2 / 3), 0.0, 2)
    assert ratio(samples, "keepalive", "fastlb", "nginx", "cpu_us") == Ratio(2.0, 0.0, 1)  # of the round it answered in
    samples = [s for s in samples if s.round]
    assert ratio(samples, "keepalive", "fastlb", "nginx", "cpu_us") is None
    about = {"cpu": "x", "cores": "2", "kernel": "6", "fastlb": "f", "haproxy": "h", "nginx": "n"}
    raw = {"machine": about, "rounds": 1, "seconds": 1.0, "missing": [], "configurations": {}}
    for text in (
        markdown(samples, list(found), ["fastlb"], about),
        report_page.html(samples, list(found), ["fastlb"], raw),
        report_page.readme_table(samples, list(found), raw),
    ):
        assert "91% failed" in text


def compared(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", *argv], cwd=ROOT, capture_output=True, text=True,
        timeout=100 * SLOWNESS, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(120 * SLOWNESS)
def test_peers_are_measured_side_by_side_in_slices(tmp_path: Path) -> None:
    """One slice measures one part, since none is over at once; the second one the other, and writes the reports."""
    for program, package in (("haproxy", "haproxy"), ("nginx", "nginx-light"), ("openssl", "openssl")):
        need(program, package)
    began = time.monotonic()
    cells = "keepalive,tls-resumed,tls-idle"
    kept = tmp_path / "kept.json"
    slices = ["--resume", str(kept), "--slice", "0.1", "--out", str(tmp_path / "out")]
    done = compared(*slices, "--proxies", "haproxy,nginx", "--rounds", "1", "--seconds", "0.5", "--only", cells)
    assert done.returncode == 75, done.stderr + done.stdout
    assert {s["workload"] for s in json.loads(kept.read_text())["samples"]} == {"keepalive"}
    done = compared(*slices)
    assert done.returncode == 0, done.stderr + done.stdout
    elapsed = time.monotonic() - began
    assert not kept.exists(), "what is in the report is not gone on from"
    saved = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    assert set(saved["configurations"]) == {"haproxy", "nginx", "origin"}
    rows = {(s["workload"], s["proxy"]): s for s in saved["samples"]}
    assert len(rows) == len(saved["samples"]) == 6
    for proxy in ("haproxy", "nginx"):
        for cell in ("keepalive", "tls-resumed"):
            row = rows[cell, proxy]
            assert row["errors"] == ""
            assert 0 < row["values"]["cpu_us"] * row["values"]["requests"] / 1e6 < elapsed
        assert 1000 < rows["tls-idle", proxy]["values"]["bytes_each"] < 200_000


def test_what_was_measured_survives_the_file(tmp_path: Path) -> None:
    plan = Plan((WORKLOADS[0], WORKLOADS[-1]), ("fastlb", "haproxy"), 0.6, 3)
    sample = Sample("keepalive", "fastlb", 1, {"cpu_us": 10.0}, "1 broken", {100: 9, 90_000: 1})
    results = saved.Results(plan, [sample], done={(0, ""), (1, "tls")}, about={"cpu": "x", "load": "1"})
    results.configured({"fastlb": {"a": "b"}}, ["a note"])
    saved.save(results, tmp_path / "kept.json")
    found = saved.load(tmp_path / "kept.json")
    assert (found.plan, found.done, found.missing, found.proxies) == (plan, results.done, ["a note"], ["fastlb"])
    assert (found.samples[0].values, found.samples[0].errors) == (sample.values, sample.errors)
    assert sum(found.samples[0].latencies.values()) == 10
    assert percentile(found.samples[0].latencies, 0.99) == pytest.approx(90_000, rel=0.02)
    found.begin({"cpu": "x", "load": "7"}, ["fastlb"], ["fastlb"])
    with pytest.raises(ValueError, match="another cpu"):
        found.begin({"cpu": "y"}, ["fastlb"], ["fastlb"])


def test_help_names_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(["--help"])
    assert ended.value.code == 0
    shown = "".join(capsys.readouterr().out.split())
    assert all(cell.name in shown for cell in WORKLOADS)
