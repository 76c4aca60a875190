"""Runs a cell on a proxy and reads what it cost."""

from __future__ import annotations

import http.client
from dataclasses import dataclass, field

from fastlb.bench import udp
from fastlb.bench.cells import CELLS, SCENES, Workload
from fastlb.bench.drivers import DRIVERS, Load
from fastlb.bench.origin import SMALL_BODY
from fastlb.bench.peers import Proxy
from fastlb.bench.process import memory, tree

WORKLOADS = (*CELLS, *udp.UDP)
SCENES.update(udp.SCENES)
DRIVERS.update(udp.DRIVERS)
NAMED = {w.name: w for w in WORKLOADS}
FIRST = 100  # idle connections that pay for what a proxy allocates once


@dataclass(slots=True)
class Sample:
    """One measurement of one proxy. Times in microseconds, `errors` are broken connections and wrong statuses."""

    workload: str
    proxy: str
    round: int
    values: dict[str, float] = field(default_factory=dict)
    errors: str = ""
    latencies: dict[int, int] = field(default_factory=dict)  # microseconds: how often


def check(proxy: Proxy) -> None:
    """Raises unless the proxy does what the comparison takes for granted: all servers, the forwarded headers."""
    scene = proxy.scene
    if scene.mode != "http" or scene.tls or scene.extra or scene.weights or len(set(scene.servers)) != 2:
        return
    seen = set()
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    for _ in range(6):
        connection.request("GET", "/seen", headers={"Host": "check.example"})
        port, forwarded_for, proto, hop = connection.getresponse().read().decode().split("|")
        seen.add(int(port))
        # Envoy names a client on its own machine by the machine's address
        if (forwarded_for != "127.0.0.1" and proxy.name != "envoy") or not forwarded_for or proto != "http":
            raise RuntimeError(f"{proxy.name}: X-Forwarded-For {forwarded_for!r}, X-Forwarded-Proto {proto!r}")
        if hop.lower() == "close":
            raise RuntimeError(f"{proxy.name}: no keep-alive towards the servers")
    if seen != set(proxy.scene.servers):
        raise RuntimeError(f"{proxy.name}: six requests in turn reached {len(seen)} of two servers")
    connection.request("GET", "/small", headers={"Host": "check.example"})
    if connection.getresponse().read().decode() != SMALL_BODY:
        raise RuntimeError(f"{proxy.name}: the small body arrived changed")
    connection.close()


def percentile(latencies: dict[int, int], share: float) -> float:
    """Microseconds that `share` of them did not exceed, by an HdrHistogram; NaN where there are none."""
    from hdrh.histogram import HdrHistogram  # optional: fastlb[bench]

    histogram = HdrHistogram(1, 3_600_000_000, 3)
    for us, count in latencies.items():
        histogram.record_value(max(1, us), count)
    return float(histogram.get_value_at_percentile(share * 100)) if latencies else float("nan")


def run(proxy: Proxy, workload: Workload, seconds: float, number: int, rate: float = 0.0) -> Sample:
    """Drives one workload for `seconds` and reads what it cost."""
    assert proxy.child is not None
    if workload.kind == "idle":
        return idle(proxy, workload, number)
    found = DRIVERS[workload.kind](proxy, workload, seconds, rate)
    answers, elapsed, latencies = float(found.answers), found.seconds, found.latencies
    if workload.size:
        answers = found.bytes / workload.size
    if answers == 0:
        raise RuntimeError(f"{proxy.name}, {workload.name}: not one answer: {found}")
    errors = [f"{n} {what}" for n, what in ((found.errors, "broken"), (found.refused, "refused")) if n]
    if not workload.upgrade and proxy.scene.mode == "http":
        proxy.answered += found.answers + found.prepared
    sample = Sample(workload.name, proxy.name, number, errors="; ".join(errors))
    sample.latencies = latencies
    sample.values = {
        "cpu_us": found.spent / answers * 1e6,
        "rps": answers / elapsed,
        "p50_us": percentile(latencies, 0.5),
        "p99_us": percentile(latencies, 0.99),
        "p999_us": percentile(latencies, 0.999),
        "core_share": found.spent / elapsed,  # of the proxy's core: 1 = the proxy was the bottleneck
        "rss_mb": memory(tree(proxy.child.pid)).rss / 1e6,
        "requests": answers,
        "rate": rate,
        "late_us": found.late * 1e6,
        # a lost datagram is none: what counts there is what arrived
        "failed": 0.0 if proxy.scene.mode == "udp" else (found.errors + found.refused) / (found.errors + found.answers),
    }
    return sample


def idle(proxy: Proxy, workload: Workload, number: int) -> Sample:
    """Opens connections that each make one request and then stay, and reads what each costs the proxy in memory.

    As many as the limit of descriptors allows: the proxy holds one for each, and so does the generator.
    """
    assert proxy.child is not None
    count = min(workload.connections, proxy.scene.connections - 2 * FIRST)
    first = Load(proxy, workload, connections=FIRST)
    try:
        before = memory(tree(proxy.child.pid))
        held = Load(proxy, workload, connections=count)
        try:
            if held.prepared != count:
                raise RuntimeError(f"{proxy.name} answered {held.prepared} of {count} connections")
            after = memory(tree(proxy.child.pid))
        finally:
            held.stop()
    finally:
        first.stop()
    if proxy.scene.mode == "http":
        proxy.answered += count + FIRST
    sample = Sample(workload.name, proxy.name, number)
    sample.values = {
        "connections": float(count),
        "bytes_each": (after.private - before.private) / count,
        "pss_each": (after.pss - before.pss) / count,
        "base_rss_mb": before.rss / 1e6,
        "base_pss_mb": before.pss / 1e6,
    }
    return sample
