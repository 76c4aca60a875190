"""The load generator's own limits: what Locust can ask at most here, and what it adds to every latency.

Measured against one of the campaign's own servers, without a balancer, so that no peer is blamed for them.
"""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fastlb.bench.process import cpu_seconds, tree
from loadtests.campaign import Locust, Options, Sampler
from loadtests.model import Pool, Service
from loadtests.stage import Servers
from loadtests.timeline import Second, percentile, total


@dataclass(frozen=True, slots=True)
class Limits:
    """Of `processes` Locust processes on this machine. Latencies in milliseconds, against a server without work."""

    processes: int
    rate: float  # requests a second without any think time
    busiest: float  # of a core, the busiest Locust process then
    server: float  # of a core, the server then
    cpu_us: float  # of Locust, a request
    p50_ms: float  # as Locust sees it, few users
    p99_ms: float
    plain_p50_ms: float  # as a plain loop over one connection sees it

    def told(self) -> str:
        first = "Locust itself" if self.busiest >= self.server else "the server it asked"
        return (
            f"The generator: {self.processes} Locust processes ask at most {self.rate:.0f} requests a second here "
            f"({self.cpu_us:.0f} µs of CPU each; then the busiest used {self.busiest:.0%} of a core and the server "
            f"{self.server:.0%}, so {first} was at its limit first). At rest it sees p50 {self.p50_ms:.2f} ms and p99 "
            f"{self.p99_ms:.2f} ms, where a plain loop over one connection sees p50 {self.plain_p50_ms:.2f} ms."
        )


def measure(options: Options, seconds: int = 5) -> Limits:
    """Takes about 2 * `seconds` and twice Locust's start."""
    pool = Pool(servers=1, service=Service(seconds=1e-6, slots=10_000))
    with tempfile.TemporaryDirectory(prefix="fastlb-load-") as name:
        folder = Path(name)
        servers = Servers(pool, folder, options.seed)
        try:
            servers.start_all()
            port, pid = servers.ports["s1"], servers.pids()[0]
            plain = _plain(port)
            calm, _, _, _ = _drive(port, pid, {"ApiClient": 1}, 4, seconds, folder, options)
            full, sampler, server, cpu = _drive(port, pid, {"Relentless": 1}, 40, seconds, folder, options)
        finally:
            servers.stop_all()
    requests = sum(s.requests for s in full)
    latencies = total(s.latency for s in calm)
    return Limits(
        options.processes,
        requests / seconds,
        statistics.median(u.busiest_load for u in sampler.usage if u.at <= seconds),
        server,
        cpu / max(requests, 1) * 1e6,
        percentile(latencies, 0.5) * 1e3,
        percentile(latencies, 0.99) * 1e3,
        plain,
    )


def _drive(
    port: int, pid: int, users: dict[str, int], peak: int, seconds: int, folder: Path, options: Options
) -> tuple[list[Second], Sampler, float, float]:
    """Seconds counted, usage, cores of the server, CPU seconds of Locust."""
    plan = {"points": [(0.0, peak), (float(seconds), peak)], "users": users, "goal": 1.0}
    out = folder / "limits.json"
    locust = Locust(f"http://127.0.0.1:{port}", plan, out, options)
    try:
        locust.await_start()
        sampler = Sampler(pid, locust.pid, locust.began)
        sampler.start()
        before, own = cpu_seconds([pid]), cpu_seconds(tree(locust.pid))
        locust.ended.wait(max(0.1, locust.began + seconds - 0.3 - time.time()))
        spent, own = cpu_seconds([pid]) - before, cpu_seconds(tree(locust.pid)) - own
        locust.await_end(seconds + 45.0)
        sampler.stop()
    finally:
        locust.stop()
    written = json.loads(out.read_text())["seconds"]
    return [Second.unpacked(s) for s in written.values()], sampler, spent / seconds, own


def _plain(port: int, count: int = 300) -> float:
    """Median milliseconds of one request after the other over one connection, without Locust."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        connection.request("GET", "/")
        connection.getresponse().read()
        taken.append((time.perf_counter() - began) * 1e3)
    connection.close()
    return statistics.median(taken)
