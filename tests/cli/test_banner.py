"""The table that `fastlb serve` prints: exact text of small and of varied configurations."""

from __future__ import annotations

from fastlb import __version__
from fastlb.cli.banner import banner
from fastlb.config import check_mapping
from fastlb.runtime.info import RuntimeInfo
from fastlb.spec import Spec
from tests.config.samples import MINIMAL, texts, with_tables


def text_of(table: str = "", base: str = MINIMAL) -> list[str]:
    report = check_mapping(with_tables(table, base))
    assert report.spec is not None, texts(report)
    return banner(report.spec, info_of(report.spec)).splitlines()


def info_of(spec: Spec) -> RuntimeInfo:
    addresses: dict[str, list[tuple[str, int] | str]] = {
        frontend.name: [
            listener.address.path or (listener.address.host or "0.0.0.0", listener.address.port)
            for listener in frontend.listen
        ]
        for frontend in spec.frontends
    }
    return RuntimeInfo(99, spec.global_.workers, "uvloop", 1024, 480, addresses)


def test_the_least() -> None:
    assert text_of("global = { workers = 2 }") == [
        f"fastlb {__version__}: 2 workers on uvloop, pid 99",
        "",
        "frontend  mode  listens on    goes to",
        "web       http  0.0.0.0:8080  app",
        "",
        "backend  balance      servers  health check",
        "app      two_choices  1        none",
        "",
        "client timeouts  header 10s, client 30s, idle 1m15s, tunnel 1h, drain 30s",
        "server timeouts  connect 3s, server 1m, queue 5s",
        "request limits   head 16KB, 100 fields, URI 8KB, body unlimited",
        "connections      480 at a time a worker (1024 open files)",
        "passive checks   5 failures in a row, success rate, latency x3: out for 10s to 5m, at most 50% of all",
        "retries          2, each on another server, after connect, closed; at most 20% of all at a time, or 3",
        "panic            with fewer than 50% of its servers up a backend uses all",
        "off              server limits, health checks, circuit breakers, slow start",
    ]


def test_sessions_have_no_requests() -> None:
    shown = text_of(
        """
        [frontends.web]
        mode = "tcp"
        [backends.app]
        mode = "tcp"
        """
    )
    assert "client timeouts  handshake and hello 10s, tunnel 1h, half closed 30s, drain 30s" in shown
    assert "server timeouts  connect 3s, queue 5s" in shown
    assert "retries          2, each on another server, after connect; at most 20% of all at a time, or 3" in shown
    assert not any("request limits" in row for row in shown)


def test_what_differs_is_told_apart() -> None:
    assert text_of(
        """
        global = { workers = 0 }
        timeouts = { header = 0 }
        [frontends.web]
        listen = ["127.0.0.1:1", "[::1]:2", "unix:/run/x", "127.0.0.1:4", "127.0.0.1:5"]
        routes = [{ path = "/x", backend = "api" }]
        redirect_https = true
        [frontends.void]
        listen = ":81"
        max_connections = 10
        limits = { body = "1MB" }
        redirect_https = true
        [backends.app]
        retries = 0
        balance = { panic_threshold = 0 }
        servers = ["a:1", { address = "b:1", backup = true }, { address = "c:1", weight = 0, max_connections = 3 }]
        [backends.api]
        servers = ["a:1"]
        retries = 0
        balance = { algorithm = "consistent_hash", key = "ip", bound = 1.5, panic_threshold = 0 }
        health_check = { path = "/h", interval = "500ms" }
        max_connections = 5
        max_queue = 6
        slow_start = "1m30s"
        outlier = false
        timeouts = { server = "5s" }
        """
    ) == [
        f"fastlb {__version__}: one process on uvloop, pid 99",
        "",
        "frontend  mode  listens on                                                 goes to",
        "web       http  127.0.0.1:1, [::1]:2, unix:/run/x, 127.0.0.1:4 and 1 more  1 route, https by redirect, app",
        "void      http  0.0.0.0:81                                                 https by redirect, else 404",
        "",
        "backend  balance                                  servers                  health check",
        "app      two_choices                              3 (1 backup, 1 drained)  none",
        "api      consistent_hash (maglev, ip, bound 1.5)  1                        GET /h every 500ms, rise 2, fall 3",
        "",
        "client timeouts  header off, client 30s, idle 1m15s, tunnel 1h, drain 30s",
        "server timeouts  app: connect 3s, server 1m, queue 5s",
        "                 api: connect 3s, server 5s, queue 5s",
        "request limits   web: head 16KB, 100 fields, URI 8KB, body unlimited",
        "                 void: head 16KB, 100 fields, URI 8KB, body 1MB",
        "connections      480 at a time (1024 open files), of which void 10",
        "server limits    app: 1 server with a limit of its own",
        "                 api: 5 at a time a server, 6 waiting",
        "health checks    app: off",
        "                 api: on",
        "passive checks   app: 5 failures in a row, success rate, latency x3: out for 10s to 5m, at most 50% of all",
        "                 api: off",
        "slow start       app: off",
        "                 api: 1m30s",
        "off              circuit breakers, retries, panic",
    ]


def test_long_lists_are_cut() -> None:
    backends = "".join(f'[backends.b{n}]\nservers = ["a:1"]\ntimeouts = {{ server = "{n + 1}s" }}\n' for n in range(40))
    lines = text_of(backends)
    assert "and 17 more" in lines  # backends
    assert "                 and 35 more" in lines  # their timeouts
    assert max(map(len, lines)) < 120


def test_there_are_no_colours() -> None:
    assert "\x1b" not in "\n".join(text_of())
