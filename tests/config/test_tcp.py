"""mode = "tcp": what is refused because a session has nothing of the kind, and what is taken as for requests."""

from __future__ import annotations

from fastlb.config import check_text


def test_what_mode_tcp_refuses() -> None:
    """Keys of requests, keys and conditions of which a session knows nothing; and sni, protocols, HTTP/2 over HTTP."""
    report = check_text(
        """
        [frontends.a]
        listen = "127.0.0.1:81"
        mode = "tcp"
        backend = "t"
        redirect_https = true
        rate_limits = { rate = "1/s", key = "path" }
        abort_on_close = false
        [[frontends.a.routes]]
        path = "/x"
        backend = "t"
        [[frontends.a.routes]]
        source = "127.0.0.2"
        split = { weights = { t = 1, u = 1 }, key = "cookie:a" }
        [frontends.b]
        listen = "127.0.0.1:82"
        backend = "h"
        [[frontends.b.routes]]
        sni = "a.example"
        backend = "h"
        [backends.t]
        mode = "tcp"
        servers = "127.0.0.1:1"
        tls = { alpn = "h2" }
        balance = { algorithm = "consistent_hash", key = "path" }
        pool = { size = 1 }
        retry = { hedge = "p95" }
        affinity = "cookie"
        adaptive_concurrency = true
        circuit_breaker = true
        overload = { backend = "h" }
        [backends.u]
        mode = "tcp"
        servers = "127.0.0.1:1"
        affinity = { type = "table", key = "header:X-User" }
        circuit_breaker = true
        overload = { respond = { status = 503 } }
        [backends.h]
        servers = "127.0.0.1:2"
        tls = { alpn = ["h2"] }
        """
    )
    assert {problem.key for problem in report.errors} == {
        "frontends.a.redirect_https", "frontends.a.rate_limits.key", "frontends.a.routes[0].path",
        "frontends.a.abort_on_close", "frontends.a.routes[1].split.key", "frontends.b.routes[0].sni",
        "backends.h.tls.alpn", "backends.t.balance.key", "backends.t.pool", "backends.t.retry.hedge",
        "backends.t.affinity", "backends.t.adaptive_concurrency", "backends.t.overload.backend",
        "backends.u.affinity.key", "backends.u.overload.respond",
    }  # fmt: skip


def test_what_mode_tcp_shares_with_http() -> None:
    report = check_text(
        """
        [frontends.a]
        listen = "127.0.0.1:81"
        mode = "tcp"
        access = { deny = "10.0.0.0/8", action = "tarpit" }
        [[frontends.a.routes]]
        source = "127.0.0.0/8"
        access = ["127.0.0.0/16"]
        priority = "high"
        split = { weights = { t = 9, u = 1 }, key = "ip" }
        [backends.t]
        mode = "tcp"
        servers = "127.0.0.1:1"
        affinity = "table"
        circuit_breaker = { scope = ["server", "backend"], slow = "50%" }
        overload = { backend = "u" }
        shutdown_sessions = true
        [backends.u]
        mode = "tcp"
        servers = "127.0.0.1:1"
        """
    )
    assert report.errors == ()
    assert report.spec is not None
    backend = report.spec.backends[0]
    assert backend.shutdown_sessions
    assert backend.affinity is not None
    assert (backend.affinity.type, backend.affinity.key) == ("table", "ip")
