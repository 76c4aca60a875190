"""API, metrics and CSV say what the load generator counted: over all workers, and after one died."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import threading
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.admin.conftest import Fastlb, Origins, Start
from tests.admin.test_csv import telegraf
from tests.admin.test_metrics import samples, value
from tests.helpers import SLOWNESS, need, wait_until

CODES = ("2xx", "4xx", "5xx")


def everywhere(lb: Fastlb) -> list[dict[str, int]]:
    """Responses by class as each surface has them, of frontend, backend and the sum of servers."""
    found = samples(parse_text(lb.api.text("/metrics")))
    csv = {(p.tags["proxy"], p.tags["sv"]): p.fields for p in telegraf(lb.api.text("/stats;csv"))}
    servers = [s["name"] for s in lb.api.get("/v1/servers")["servers"]]
    views = [
        lb.api.get("/v1/frontends/web")["responses"],
        lb.api.get("/v1/backends/app")["responses"],
    ]
    every: list[dict[str, int]] = [{code: view[code] for code in CODES} for view in views]
    for prefix in ("fastlb_{}_requests_total", "haproxy_{}_http_responses_total"):
        for scope, labels in (
            ("frontend", [{"proxy": "web"}]),
            ("backend", [{"proxy": "app"}]),
            ("server", [{"proxy": "app", "server": name} for name in servers]),
        ):
            every.append(
                {code: int(sum(value(found, prefix.format(scope), code=code, **at) for at in labels)) for code in CODES}
            )
    every.append({code: csv[("web", "FRONTEND")][f"hrsp_{code}"] for code in CODES})
    every.append({code: csv[("app", "BACKEND")][f"hrsp_{code}"] for code in CODES})
    every.append({code: sum(csv[("app", name)][f"hrsp_{code}"] for name in servers) for code in CODES})
    for scope, labels in (("frontend", {"proxy": "web"}), ("backend", {"proxy": "app"})):
        count = value(found, f"fastlb_{scope}_total_time_seconds_count", **labels)
        assert count == value(found, f"fastlb_{scope}_total_time_seconds_bucket", le="+Inf", **labels)
        assert count == sum(value(found, f"fastlb_{scope}_requests_total", code=code, **labels) for code in (
            "1xx", "2xx", "3xx", "4xx", "5xx", "other"
        ))  # fmt: skip
    return every


class Client(threading.Thread):
    """Counts what it got, on a connection that it renews when it breaks."""

    def __init__(self, port: int, requests: int, start: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.requests = requests
        self.offset = start
        self.got: Counter[str] = Counter()
        self.broken = 0

    def run(self) -> None:
        targets = ("/", "/", "/status/404", "/", "/status/500", "/status/204")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30 * SLOWNESS)
        for n in range(self.requests):
            try:
                connection.request("GET", targets[(n + self.offset) % len(targets)])
                response = connection.getresponse()
                response.read()
                self.got[f"{response.status // 100}xx"] += 1
            except (OSError, http.client.HTTPException):
                self.broken += 1
                connection.close()
        connection.close()


def load(lb: Fastlb, clients: int, requests: int) -> list[Client]:
    running = [Client(lb.ports["web"], requests, n) for n in range(clients)]
    for client in running:
        client.start()
    return running


def total(clients: list[Client]) -> dict[str, int]:
    counts: Counter[str] = sum((client.got for client in clients), Counter())
    return {code: counts[code] for code in CODES}


def test_equal_over_all_workers_and_after_a_worker_died_idle(fastlb: Start, origins: Origins) -> None:
    lb = fastlb(*origins.servers)
    first = load(lb, 8, 100)
    for client in first:
        client.join()
    assert sum(client.broken for client in first) == 0
    expected = total(first)
    lb.settled(800)
    assert all(found == expected for found in everywhere(lb)), (expected, everywhere(lb))

    (victim, _) = lb.workers()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in lb.workers() and 0 not in lb.workers(), what="another worker in its place")
    assert all(found == expected for found in everywhere(lb))  # the dead worker's counts stay
    wait_until(lambda: lb.api.ask("/readyz").status == 200, what="ready")

    second = load(lb, 8, 100)
    for client in second:
        client.join()
    assert sum(client.broken for client in second) == 0
    both = {code: expected[code] + total(second)[code] for code in CODES}
    lb.settled(1600)
    assert all(found == both for found in everywhere(lb)), (both, everywhere(lb))
    workers = lb.api.get("/v1/workers")["workers"]
    assert [w["starts"] for w in workers] == [2, 1]
    assert lb.api.get("/v1/frontends/web")["in_flight"] == 0


def test_what_a_killed_worker_had_in_flight_is_all_that_may_lack(fastlb: Start, origins: Origins) -> None:
    """An answer is sent before it is counted: one that was sent in that very moment may be missing."""
    lb = fastlb(*origins.servers)
    clients = load(lb, 8, 400)
    wait_until(lambda: sum(sum(c.got.values()) for c in clients) > 400, what="load")
    victim = max(lb.api.get("/v1/workers")["workers"], key=lambda worker: worker["connections"])
    os.kill(victim["pid"], signal.SIGKILL)
    for client in clients:
        client.join()
    seen, broken = sum(total(clients).values()), sum(client.broken for client in clients)
    assert 0 < broken <= 16
    lb.settled(seen - 1)
    for found in everywhere(lb):
        counted = sum(found.values())
        assert seen - 1 <= counted <= seen + broken, (seen, broken, found)
    gauges = lb.api.get("/v1/backends/app")
    assert (gauges["in_flight"], gauges["queued"]) == (0, 0)
    assert all(s["in_flight"] == 0 for s in lb.api.get("/v1/servers")["servers"])


@pytest.mark.parametrize("workers", [0, 2])
def test_equal_to_what_wrk_counted(fastlb: Start, origins: Origins, workers: int) -> None:
    """wrk leaves in the middle of its last requests: the answers that it counted are those to whole requests."""
    wrk = need("wrk")
    lb = fastlb(*origins.servers, workers=workers)
    url = f"http://127.0.0.1:{lb.ports['web']}/"
    done = subprocess.run([wrk, "-t1", "-c16", "-d2s", url], capture_output=True, text=True, check=True)
    match = re.search(r"(\d+) requests in", done.stdout)
    assert match, done.stdout
    counted = int(match[1])
    wait_until(lambda: lb.api.get("/v1/frontends/web")["connections"] == 0, what="wrk gone")
    wait_until(lambda: lb.api.get("/v1/frontends/web")["in_flight"] == 0, what="nothing in flight")
    for found in everywhere(lb):
        assert counted <= found["2xx"] <= counted + 16, done.stdout
        assert (found["4xx"], found["5xx"]) == (0, 0)
    first = everywhere(lb)[0]
    assert all(found == first for found in everywhere(lb))
