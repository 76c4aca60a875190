"""Runs a comparison: scenes, rounds, cells, in turns; `python -m benchmarks.compare` and `fastlb bench`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastlb.bench import report, report_page
from fastlb.bench.machine import machine
from fastlb.bench.origin import Origin
from fastlb.bench.own import scene_of_file
from fastlb.bench.peers import Fastlb, Proxy, Setup
from fastlb.bench.peers_more import PEERS
from fastlb.bench.scene import Scene
from fastlb.bench.workloads import NAMED, WORKLOADS, Sample, Workload, addressed, check, run, scene_of

SMALL = "keepalive,close,browser,64k,1m,idle"
OVERHEAD = 1.2  # seconds around a measurement: the generator's start, the log's end
START = 1.5  # of a proxy, its check and its warming up


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, how long and how often."""

    workloads: tuple[Workload, ...]
    peers: tuple[str, ...]
    seconds: float
    rounds: int
    log: bool = True
    idle: int = 5_000

    def duration(self) -> float:
        """Seconds that it takes, about."""
        starts = len({w.scene for w in self.workloads}) * START
        return self.rounds * len(self.peers) * (starts + len(self.workloads) * (self.seconds + OVERHEAD))


def bounded(plan: Plan, minutes: float) -> Plan:
    """At least two rounds of one second; fewer rounds first, shorter ones then, fewer cells never."""
    while plan.duration() > minutes * 60 and plan.rounds > 3:
        plan = replace(plan, rounds=plan.rounds - 1)
    while plan.duration() > minutes * 60 and plan.seconds > 1:
        plan = replace(plan, seconds=max(1.0, plan.seconds - 0.5))
    while plan.duration() > minutes * 60 and plan.rounds > 2:
        plan = replace(plan, rounds=plan.rounds - 1)
    return plan


def certificate(folder: Path) -> Path:
    """A certificate for bench.example and its key in one file (ECDSA P-256, as most have today)."""
    pem = folder / "bench.pem"
    key, cert = folder / "key.pem", folder / "cert.pem"
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    argv += ["-subj", "/CN=bench.example", "-addext", "subjectAltName=DNS:bench.example"]
    subprocess.run([*argv, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    pem.write_text(cert.read_text() + key.read_text())
    pem.chmod(0o644)  # a peer that gives up root reads it still
    return pem


def choose(names: Sequence[str], setup: Setup, checkout: Path | None) -> list[Proxy]:
    """The peers asked for; one that is not installed ends the run with how to install it."""
    chosen: list[Proxy] = []
    for name in names:
        kind = PEERS.get(name)
        if kind is None:
            raise SystemExit(f"no such proxy: {name}; there are {', '.join(PEERS)}")
        if not kind.there():
            raise SystemExit(f"{name} is not installed: {kind.package}, or leave it out")
        chosen.append(Fastlb(setup, "fastlb", checkout) if kind is Fastlb else kind(setup))
    return chosen


class Campaign:
    """One comparison: rounds of scenes of cells, every cell on all proxies in turn."""

    def __init__(self, plan: Plan, proxies: list[Proxy], base: Scene, origin: Origin, pem: Path) -> None:
        self._plan, self._proxies, self._base, self._origin, self._pem = plan, proxies, base, origin, pem
        self.samples: list[Sample] = []
        self.missing: list[str] = []  # peers that could not do a scene

    def run(self) -> None:
        for number in range(self._plan.rounds):
            print(f"round {number + 1} of {self._plan.rounds}", flush=True)
            # each round another one is first
            turn = self._proxies[number % len(self._proxies) :] + self._proxies[: number % len(self._proxies)]
            for scene in dict.fromkeys(w.scene for w in self._plan.workloads):
                self._scene(scene, turn, number)

    def _scene(self, name: str, turn: list[Proxy], number: int) -> None:
        cells = [w for w in self._plan.workloads if w.scene == name]
        scene = scene_of(name, self._base, self._origin, self._pem)
        able: list[Proxy] = []
        try:
            for proxy in turn:
                if scene.mode not in proxy.modes:
                    continue
                try:
                    proxy.start(scene)
                    check(proxy)
                    able.append(proxy)
                    if cells[0].kind == "load":
                        run(proxy, cells[0], 0.5, number)  # warm: caches, pools, branch predictors
                except RuntimeError as error:
                    text = f"{proxy.name} cannot do {name or 'the base scene'}: {str(error).strip()[:300]}"
                    if text not in self.missing:
                        self.missing.append(text)
                        print(f"  {text}", flush=True)
                    able = [p for p in able if p is not proxy]
            for cell in cells:
                self._cell(cell, able, number)
        finally:
            for proxy in turn:
                proxy.stop()

    def _cell(self, cell: Workload, proxies: list[Proxy], number: int) -> None:
        rate = self._rate(cell, proxies, number) if cell.kind == "latency" else 0.0
        for proxy in proxies:
            if cell.kind == "idle":
                cell = replace(cell, connections=self._plan.idle)
            try:
                sample = run(proxy, cell, self._plan.seconds, number, rate)
            except (RuntimeError, OSError) as error:
                sample = Sample(cell.name, proxy.name, number, errors=str(error).strip()[:300])
            self.samples.append(sample)
            print(f"  {cell.name:16} {proxy.name:9} {report.line(sample)}", flush=True)

    def _rate(self, cell: Workload, proxies: list[Proxy], number: int) -> float:
        """A share of what the slowest did at saturation; measured for it where no cell of this round has."""
        found = [s.values["rps"] for s in self.samples if (s.workload, s.round) == ("keepalive", number) and s.values]
        if len(found) < len(proxies):
            found = [run(p, NAMED["keepalive"], 1.0, number).values["rps"] for p in proxies]
        return cell.share * min(found)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description=__doc__)
    names = ",".join(w.name for w in WORKLOADS)
    parser.add_argument("--minutes", type=float, help="as long as this and no longer: fewer rounds, then shorter ones")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3; every round starts every proxy afresh")
    parser.add_argument("--only", default=SMALL, help=f"cells (default {SMALL}), or all: {names}".replace("%", "%%"))
    parser.add_argument(
        "--proxies", default="fastlb,haproxy,nginx", help=f"of {', '.join(PEERS)}; default the first three"
    )
    parser.add_argument("--checkout", action="append", default=[], metavar="NAME=DIR",
                        help="another built checkout of fastlb, compared too; may be repeated")  # fmt: skip
    parser.add_argument("--silent", action="append", default=[], metavar="NAME", help="a checkout without access log")
    parser.add_argument("--idle", type=int, default=5000, help="idle connections (default 5000)")
    parser.add_argument("--no-log", action="store_true", help="without access logs")
    parser.add_argument("--proxy-core", type=int, help="core of the proxy (default: the last one)")
    parser.add_argument("--load-core", type=int, help="core of load generator and servers (default: the first one)")
    parser.add_argument("--out", type=Path, help="folder of the reports (default build/compare)")
    parser.add_argument("--release", action="store_true", help="write to benchmarks/results, for the README")
    options = parser.parse_args(argv)
    options.only = names.split(",") if options.only == "all" else options.only.split(",")
    unknown = set(options.only) - set(names.split(","))
    if unknown:
        parser.error(f"no such cell: {', '.join(sorted(unknown))}; there are {names}")
    return options


def compare(
    plan: Plan,
    scene: Callable[[tuple[int, ...]], Scene] | None,
    out: Path,
    checkout: Path | None,
    others: dict[str, Path],
    cores: tuple[int, int],
    notes: Sequence[str] = (),
    silent: Sequence[str] = (),
) -> Path:
    """Runs the plan and writes the reports; returns the page.

    `scene` makes a user's own of the ports that stand in for its servers; without it there are two equal servers.
    """
    print(f"{len(plan.workloads)} cells, {len(plan.peers)} proxies, {plan.rounds} rounds of {plan.seconds:g} s: "
          f"about {plan.duration() / 60:.1f} minutes", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="fastlb-compare-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # a peer that gives up root still writes its log
        two = any(w.scene.startswith("2workers") for w in plan.workloads)
        setup = Setup({cores[0]} if not two else {cores[0], cores[1]}, cores[1], folder)
        proxies = choose(plan.peers, setup, checkout)
        proxies += [Fastlb(setup, label, path, label not in silent) for label, path in others.items()]
        about = {**machine(), **{p.name: p.version() for p in proxies}}
        many = 1000 if any(w.scene == "1000servers" for w in plan.workloads) else 2
        if scene:
            many = max(many, len(scene(()).servers))
        origin = Origin(setup, many)
        base = scene(origin.ports) if scene else Scene(origin.ports[:2], log=plan.log)
        campaign = Campaign(plan, proxies, base, origin, certificate(folder))
        try:
            os.sched_setaffinity(0, {cores[1]})
            for proxy in proxies:
                proxy.setup = setup
            campaign.run()
        finally:
            origin.stop()
        subjects = [p.name for p in proxies if isinstance(p, Fastlb)]
        names = [p.name for p in proxies]
        text = report.markdown(campaign.samples, names, subjects, about)
        raw: dict[str, object] = {
            "machine": about,
            "seconds": plan.seconds,
            "rounds": plan.rounds,
            "access_log": plan.log,
            "missing": [*notes, *campaign.missing],
            "configurations": {p.name: p.configs for p in proxies} | {"origin": {"": origin.config}},
        }
        stamp = time.strftime("%Y%m%d-%H%M%S")
        path = report.save(out, stamp, text, raw, campaign.samples)
        html = path.with_suffix(".html")
        html.write_text(report_page.html(campaign.samples, names, subjects, raw))
    print(f"\n{text}\nsaved: {html}, {path.name} and {path.with_suffix('.json').name}")
    return html


def own(
    text: str,
    peers: tuple[str, ...],
    cells: Sequence[str],
    minutes: float,
    out: Path,
    cores: tuple[int, int],
    *,
    frontend: str = "",
    host: str = "",
    path: str = "",
) -> Path:
    """The comparison on a user's own configuration, whose text has been checked."""
    unknown = [c for c in cells if c not in NAMED or NAMED[c].scene not in ("", "idle", "nolog")]
    if unknown:
        raise SystemExit(f"no such cell for a configuration of one's own: {', '.join(unknown)}")
    chosen = tuple(addressed(w, host or "bench.example", path) for w in WORKLOADS if w.name in cells)

    def scene(ports: tuple[int, ...]) -> Scene:
        return scene_of_file(text, frontend, ports=ports)[0]

    notes = scene_of_file(text, frontend)[1]
    for note in notes:
        print(f"note: {note}", flush=True)
    plan = bounded(Plan(chosen, peers, 3.0, 3), minutes)
    return compare(plan, scene, out, None, {}, cores, notes)


def main(argv: Sequence[str], checkout: Path) -> int:
    """The comparison of a checkout."""
    options = arguments(argv)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("warning: only one core; proxy, load and servers share it and latencies say nothing", file=sys.stderr)
    others = {}
    for pair in options.checkout:
        name, _, folder = pair.partition("=")
        if not (Path(folder) / "fastlb").is_dir():
            raise SystemExit(f"--checkout {pair}: {folder or 'nothing'} is no checkout of fastlb")
        others[name] = Path(folder).resolve()
    plan = Plan(
        tuple(w for w in WORKLOADS if w.name in options.only),
        tuple(options.proxies.split(",")),
        options.seconds,
        options.rounds,
        not options.no_log,
        options.idle,
    )
    if options.minutes:
        plan = bounded(plan, options.minutes)
    proxy_core = cores[-1] if options.proxy_core is None else options.proxy_core
    load_core = cores[0] if options.load_core is None else options.load_core
    out = checkout / "benchmarks" / "results" if options.release else options.out or checkout / "build" / "compare"
    compare(plan, None, out, checkout, others, (proxy_core, load_core), silent=options.silent)
    return 0
