"""Runs the comparison: `python -m benchmarks.compare --seconds 3 --rounds 3 --only keepalive,idle`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.compare import report
from benchmarks.compare.peers import Fastlb, HAProxy, Nginx, Origin, Proxy, Setup, find
from benchmarks.compare.workloads import IDLE, WORKLOADS, Sample, check, idle, run
from fastlb.bench.machine import machine

CHECKOUT = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description=__doc__)
    names = ",".join([w.name for w in WORKLOADS] + [IDLE])
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement (default 3, at least 1)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3; every round starts every proxy afresh")
    parser.add_argument("--only", default=names, help=f"workloads, default all: {names}")
    parser.add_argument("--proxies", default="fastlb,haproxy,nginx", help="default fastlb,haproxy,nginx")
    parser.add_argument(
        "--checkout",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="another built checkout of fastlb, compared too under this name; may be repeated",
    )
    parser.add_argument("--silent", action="append", default=[], metavar="NAME", help="a checkout without access log")
    parser.add_argument("--idle", type=int, default=5000, help="idle connections (default 5000)")
    parser.add_argument("--no-log", action="store_true", help="without access logs")
    parser.add_argument("--proxy-core", type=int, help="core of the proxy (default: the last one)")
    parser.add_argument("--load-core", type=int, help="core of load generator and servers (default: the first one)")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "build" / "compare", help="default build/compare")
    options = parser.parse_args()
    options.only = options.only.split(",")
    unknown = set(options.only) - set(names.split(","))
    if unknown:
        parser.error(f"no such workload: {', '.join(sorted(unknown))}; there are {names}")
    return options


def choose(options: argparse.Namespace, setup: Setup) -> list[Proxy]:
    """The proxies asked for; a peer that is not installed ends the run with the package to install."""
    chosen: list[Proxy] = []
    for name in options.proxies.split(","):
        if name == "fastlb":
            chosen.append(Fastlb(setup, "fastlb", CHECKOUT))
        elif name in ("haproxy", "nginx"):
            if find(name) is None:
                raise SystemExit(f"{name} is not installed: apt-get install {name}, or leave it out by --proxies")
            chosen.append(HAProxy(setup) if name == "haproxy" else Nginx(setup))
        else:
            raise SystemExit(f"no such proxy: {name}; there are fastlb, haproxy, nginx")
    for pair in options.checkout:
        name, _, folder = pair.partition("=")
        if not (Path(folder) / "fastlb").is_dir():
            raise SystemExit(f"--checkout {pair}: {folder or 'nothing'} is no checkout of fastlb")
        chosen.append(Fastlb(setup, name, Path(folder).resolve(), log=name not in options.silent))
    return chosen


def one_round(options: argparse.Namespace, proxies: list[Proxy], number: int) -> list[Sample]:
    """Every workload on every proxy, started afresh, each round with another one first."""
    samples: list[Sample] = []
    turn = proxies[number % len(proxies) :] + proxies[: number % len(proxies)]
    try:
        for proxy in turn:
            proxy.start()
            check(proxy)
            run(proxy, WORKLOADS[0], 1, number)  # warm: caches, pools, branch predictors
        for workload in WORKLOADS:
            for proxy in turn if workload.name in options.only else ():
                sample = run(proxy, workload, options.seconds, number)
                samples.append(sample)
                v = sample.values
                print(
                    f"  {workload.name:9} {proxy.name:9} {v['cpu_us']:8.1f} us  {v['rps']:8.0f}/s  "
                    f"p50 {v['p50_us'] / 1e3:.2f} ms  p99 {v['p99_us'] / 1e3:.2f} ms  {sample.errors}",
                    flush=True,
                )
        if IDLE in options.only:
            for proxy in turn:
                proxy.stop()
                proxy.start()  # what the workloads before left in the allocator would be used again
                sample = idle(proxy, options.idle, number)
                samples.append(sample)
                print(f"  {IDLE:9} {proxy.name:9} {sample.values['bytes_each']:8.0f} bytes each", flush=True)
    finally:
        for proxy in turn:
            proxy.stop()
    return samples


def main() -> int:
    options = arguments()
    if find("wrk") is None:
        raise SystemExit("the load generator is wrk: apt-get install wrk")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("warning: only one core; proxy, load and servers share it and latencies say nothing", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="fastlb-compare-") as folder:
        setup = Setup(
            proxy_core=cores[-1] if options.proxy_core is None else options.proxy_core,
            load_core=cores[0] if options.load_core is None else options.load_core,
            folder=Path(folder),
            log=not options.no_log,
        )
        Path(folder).chmod(0o755)  # a peer that gives up root still writes its log
        proxies = choose(options, setup)
        about = {**machine(), **{p.name: p.version() for p in proxies}}
        samples: list[Sample] = []
        origin = Origin(setup)
        try:
            os.sched_setaffinity(0, {setup.load_core})
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", flush=True)
                samples += one_round(options, proxies, number)
        finally:
            origin.stop()
        subjects = [p.name for p in proxies if isinstance(p, Fastlb)]
        text = report.markdown(samples, [p.name for p in proxies], subjects, about)
        raw: dict[str, object] = {
            "machine": about,
            "seconds": options.seconds,
            "rounds": options.rounds,
            "access_log": setup.log,
            "configurations": {p.name: p.config for p in proxies} | {"origin": origin.config},
        }
        path = report.save(options.out, time.strftime("%Y%m%d-%H%M%S"), text, raw, samples)
    print(f"\n{text}\nsaved: {path} and {path.with_suffix('.json').name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
