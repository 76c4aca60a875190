"""Handshakes as fast as clients can make them: what those who are connected already feel of it, beside the peers.

    python -m benchmarks.flood [--rounds 3] [--seconds 4] [--proxies fastlb,haproxy]

Eight established connections ask at a fixed rate, first alone, then beside 64 clients that make one full TLS handshake
after the other without a pause. A proxy has one core, all clients the other; those of the flood are nicer. Latencies
count from when a request was due. In each round another proxy is first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastlb.bench.cells import CELLS, Workload
from fastlb.bench.compare import certificate, choose
from fastlb.bench.drivers import Found, Load
from fastlb.bench.origin import Origin
from fastlb.bench.peers import Proxy, Setup
from fastlb.bench.scene import Scene, raise_limit

RATE = 400.0  # requests a second of the established connections
ESTABLISHED = 8
FLOOD = 64
NICE = 5


@dataclass
class Seen:
    """Of one proxy, by round: milliseconds of the established connections, and handshakes a second of the flood."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    longest: list[float] = field(default_factory=list)
    handshakes: list[float] = field(default_factory=list)
    failed: int = 0


def quantile(latencies: dict[int, int], share: float) -> float:
    """Milliseconds."""
    left = share * sum(latencies.values())
    for us in sorted(latencies):
        left -= latencies[us]
        if left <= 0:
            return us / 1000
    return 0.0


def cell(name: str) -> Workload:
    return next(one for one in CELLS if one.name == name)


def run(proxy: Proxy, scene: Scene, seconds: float, seen: Seen) -> None:
    """One round of one proxy."""
    proxy.start(scene)
    loads: list[Load] = []

    def load(name: str, rate: float, connections: int) -> Load:
        loads.append(Load(proxy, cell(name), rate, connections))
        return loads[-1]

    try:
        alone = load("tls", RATE, ESTABLISHED).run(seconds / 2)
        established, flood = load("tls", RATE, ESTABLISHED), load("tls-full", 0.0, FLOOD)
        os.setpriority(os.PRIO_PROCESS, flood.pid, NICE)
        shaken: list[Found] = []
        thread = threading.Thread(target=lambda: shaken.append(flood.run(seconds + 1.0)))
        thread.start()
        beside = established.run(seconds)
        thread.join()
    finally:
        for one in loads:
            one.stop()
        proxy.stop()
    seen.alone.append(quantile(alone.latencies, 0.99))
    seen.beside.append(quantile(beside.latencies, 0.99))
    seen.longest.append(max(beside.latencies) / 1000)
    seen.handshakes.append(shaken[0].answers / shaken[0].seconds)
    seen.failed += sum(found.errors + found.refused for found in (alone, beside, shaken[0]))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.flood", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each flood")
    parser.add_argument("--proxies", default="fastlb,haproxy")
    options = parser.parse_args(argv)
    raise_limit()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="fastlb-flood-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        setup = Setup({cores[-1]}, cores[0], folder)
        proxies = choose(options.proxies.split(","), setup, None)
        found = {proxy.name: Seen() for proxy in proxies}
        origin = Origin(setup, 2)
        try:
            os.sched_setaffinity(0, {cores[0]})
            scene = replace(Scene(origin.ports[:2]), tls=certificate(folder))
            for number in range(options.rounds):
                at = number % len(proxies)
                for proxy in (*proxies[at:], *proxies[:at]):
                    run(proxy, scene, options.seconds, found[proxy.name])
        finally:
            origin.stop()
    for proxy in proxies:
        seen = found[proxy.name]
        rounds = ", ".join(f"{ms:.2f}" for ms in seen.beside)
        print(f"{proxy.name:10} p99 alone {statistics.median(seen.alone):6.2f} ms, in the flood "
              f"{statistics.median(seen.beside):6.2f} ms (rounds: {rounds}; longest {max(seen.longest):.1f}), "
              f"{statistics.median(seen.handshakes):6.0f} handshakes/s, {seen.failed} failed", flush=True)  # fmt: skip
    return 1 if any(seen.failed for seen in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
