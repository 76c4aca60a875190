"""Runs a comparison and writes its reports: `python -m benchmarks.compare` and `fastlb bench`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastlb.bench import saved
from fastlb.bench.campaign import Campaign
from fastlb.bench.cells import addressed
from fastlb.bench.machine import machine
from fastlb.bench.origin import Origin
from fastlb.bench.own import scene_of_file
from fastlb.bench.peers import Fastlb, Proxy, Setup
from fastlb.bench.peers_more import PEERS
from fastlb.bench.plan import Plan, bounded
from fastlb.bench.scene import Scene, raise_limit
from fastlb.bench.workloads import NAMED, WORKLOADS

SMALL = "keepalive,close,browser,64k,1m,idle"
MORE = 75  # exit status of a slice after which there is more to measure (EX_TEMPFAIL of sysexits.h)


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


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description=__doc__)
    names = ",".join(w.name for w in WORKLOADS)
    parser.add_argument("--minutes", type=float, help="as long as this and no longer: fewer rounds, then shorter ones")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3; every round starts every proxy afresh")
    parser.add_argument("--only", default=SMALL, help=f"cells (default {SMALL}), or all: {names}".replace("%", "%%"))
    parser.add_argument(
        "--proxies", default="fastlb,haproxy,nginx", help=f"of {', '.join(PEERS)}, or all; default the first three"
    )
    parser.add_argument("--resume", type=Path, metavar="FILE",
                        help="keep what is measured in FILE and go on from there: cells, proxies, rounds and "
                        f"seconds are those of the run that made it; exit status {MORE}: there is more")  # fmt: skip
    parser.add_argument("--slice", type=float, metavar="SECONDS", help="with --resume: stop after about so long")
    parser.add_argument("--checkout", action="append", default=[], metavar="NAME=DIR",
                        help="another built checkout of fastlb, compared too; may be repeated")  # fmt: skip
    parser.add_argument("--silent", action="append", default=[], metavar="NAME", help="a checkout without access log")
    parser.add_argument("--idle", type=int, default=5000, help="idle connections (default 5000)")
    parser.add_argument("--no-log", action="store_true", help="without access logs")
    parser.add_argument("--proxy-core", type=int, help="core of the proxy (default: the last one)")
    parser.add_argument("--load-core", type=int, help="core of load generator and servers (default: the first one)")
    parser.add_argument("--out", type=Path, help="folder of the reports (default build/compare)")
    parser.add_argument("--release", action="store_true",
                        help="write to benchmarks/results in place of what is there, for the README")  # fmt: skip
    options = parser.parse_args(argv)
    options.only = names.split(",") if options.only == "all" else options.only.split(",")
    options.proxies = list(PEERS) if options.proxies == "all" else options.proxies.split(",")
    unknown = set(options.only) - set(names.split(","))
    if unknown:
        parser.error(f"no such cell: {', '.join(sorted(unknown))}; there are {names}")
    if options.slice and not options.resume:
        parser.error("--slice needs --resume FILE: where is the rest to go on from?")
    return options


@dataclass(frozen=True, slots=True)
class Where:
    """Where things run and where their results go.

    `others` are more checkouts of fastlb by name, those in `silent` without access log. With `resume` what was measured
    is kept there, and a run goes on from it; no part is begun after `slice` seconds. Without, two rounds are measured
    and as many more as `bound` seconds allow.
    """

    out: Path
    cores: tuple[int, int]  # of the proxy, of load and servers
    checkout: Path | None = None
    others: dict[str, Path] = field(default_factory=dict)
    silent: Sequence[str] = ()
    notes: Sequence[str] = ()
    resume: Path | None = None
    slice: float = 0.0
    bound: float = 0.0
    release: bool = False


def compare(plan: Plan, scene: Callable[[tuple[int, ...]], Scene] | None, where: Where) -> Path | None:
    """Runs the plan and writes the reports; returns the page, None where a slice ended before all was measured.

    `scene` makes a user's own of the ports that stand in for its servers; without it there are two equal servers.
    """
    began = time.monotonic()
    raise_limit()
    results = saved.Results(plan)
    if where.resume and where.resume.exists():
        results = saved.load(where.resume)
        plan = results.plan
    parts = plan.rounds * len(plan.scenes())
    print(
        f"{len(plan.workloads)} cells, {len(plan.peers)} proxies, {plan.rounds} rounds of {plan.seconds:g} s: about "
        f"{plan.duration() / 60:.1f} minutes; {len(results.done)} of {parts} parts are measured",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="fastlb-compare-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # a peer that gives up root still writes its log
        setup = Setup({where.cores[0]}, where.cores[1], folder)
        proxies = choose(plan.peers, setup, where.checkout)
        proxies += [Fastlb(setup, label, path, label not in where.silent) for label, path in where.others.items()]
        about = {**machine(), **{p.name: p.version() for p in proxies}}
        results.begin(about, [p.name for p in proxies], [p.name for p in proxies if isinstance(p, Fastlb)])
        needed = {"1000servers": 1000, "100servers": 100}
        many = max(needed.get(w.scene, 2) for w in plan.workloads)
        if scene:
            many = max(many, len(scene(()).servers))
        origin = Origin(setup, many)
        base = scene(origin.ports) if scene else Scene(origin.ports[:2], log=plan.log)
        pem = certificate(folder)
        base = replace(base, tls=pem) if base.secure else base
        campaign = Campaign(plan, proxies, base, origin, pem)
        campaign.samples, campaign.missing, campaign.done = results.samples, results.missing, results.done
        try:
            os.sched_setaffinity(0, {where.cores[1]})
            until = where.slice or where.bound or float("inf")
            campaign.run(began + until, 0 if where.slice else 2)
        finally:
            origin.stop()
            results.configured({p.name: p.configs for p in proxies} | {"origin": {"": origin.config}}, where.notes)
            if where.resume:
                saved.save(results, where.resume)
    if left := len(campaign.left()):
        if where.slice:
            print(f"{left} of {parts} parts are left: run this again", flush=True)
            return None
        results.missing.append(f"the time was up: {left} of {parts} parts, all of the last rounds, were not measured")
    html, text = saved.write(results, where.out, where.release)
    if where.resume:
        where.resume.unlink()
    print(f"\n{text}\nsaved: {html}, and the same as .md and .json")
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
    unknown = [c for c in cells if c not in NAMED or NAMED[c].scene not in ("", "idle", "nolog", "tls")]
    if unknown:
        raise SystemExit(f"no such cell for a configuration of one's own: {', '.join(unknown)}")
    chosen = tuple(addressed(w, host or "bench.example", path) for w in WORKLOADS if w.name in cells)

    def scene(ports: tuple[int, ...]) -> Scene:
        return scene_of_file(text, frontend, ports=ports)[0]

    notes = scene_of_file(text, frontend)[1]
    for note in notes:
        print(f"note: {note}", flush=True)
    plan = bounded(Plan(chosen, peers, 3.0, 3), minutes)
    page = compare(plan, scene, Where(out, cores, notes=notes, bound=minutes * 60))
    assert page is not None
    return page


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
    cells = tuple(
        replace(w, connections=options.idle) if w.name == "idle" else w for w in WORKLOADS if w.name in options.only
    )
    plan = Plan(cells, tuple(options.proxies), options.seconds, options.rounds, not options.no_log)
    if options.minutes:
        plan = bounded(plan, options.minutes)
    where = Where(
        checkout / "benchmarks" / "results" if options.release else options.out or checkout / "build" / "compare",
        (
            cores[-1] if options.proxy_core is None else options.proxy_core,
            cores[0] if options.load_core is None else options.load_core,
        ),
        checkout,
        others,
        options.silent,
        resume=options.resume,
        slice=options.slice or 0.0,
        bound=(options.minutes or 0.0) * 60,
        release=options.release,
    )
    return 0 if compare(plan, None, where) else MORE
