"""Spans: what a collector gets, and that one that gives trouble costs nobody anything."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastlb.config import parse
from fastlb.control.events import Events
from fastlb.errors import ConfigError
from fastlb.runtime.spans import Spans
from fastlb.testing import Delay, Origin, RawClient, by_path, respond
from tests.helpers import free_port, wait_until

from .collector import Collector
from .conftest import Served

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01"


def text(port: int, origin: Origin, endpoint: str, *, admin: str = "", tracing: str = "", workers: int = 2) -> str:
    return f"""
[global]
workers = {workers}
[log]
access = "off"
[admin]
socket = "{admin}"
[tracing]
endpoint = "{endpoint}"
service = "edge"
headers = {{ authorization = "env:COLLECTOR_TOKEN" }}
{tracing}
[timeouts]
connect = "1s"
[frontends.web]
listen = "127.0.0.1:{port}"
forwarded.traceparent = true
backend = "app"
[[frontends.web.routes]]
name = "sick"
path = "/down*"
backend = "down"
[[frontends.web.routes]]
path = "/moved"
redirect = "/x"
[backends.app]
servers = ["{origin.name}"]
[backends.down]
servers = ["127.0.0.1:1", "127.0.0.1:2"]
retries = 1
"""


def metric(admin: Path, name: str) -> int:
    with RawClient(str(admin), timeout=30) as client:
        body = client.get("/metrics", [("Connection", "close")]).body.decode()
    found = re.search(rf"^{name} (\d+)$", body, re.MULTILINE)
    assert found, body
    return int(found[1])


@pytest.fixture
def with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTOR_TOKEN", "Bearer of-the-collector")


@pytest.mark.usefixtures("with_token")
def test_what_a_collector_gets(serve: Callable[..., Served], tmp_path: Path, port: int) -> None:
    admin = tmp_path / "admin.sock"
    script = by_path({"/slow": [Delay(0.05), *respond("x")], "/ill": respond("", 500)}, respond("ok"))
    with Origin(script) as origin, Collector() as collector, Collector() as other:
        served = serve(text(port, origin, collector.url, admin=str(admin)))
        asked = time.time_ns()
        with RawClient(("127.0.0.1", port), timeout=30) as client:

            def ask(path: str, traceparent: str = "") -> tuple[int, str]:
                """Status, and the traceparent that the server was told."""
                seen = len(origin.requests)
                more = f"traceparent: {traceparent}\r\n" if traceparent else ""
                client.send(f"GET {path} HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: test/1\r\n{more}\r\n")
                status = client.response().status
                got = origin.requests[seen:]
                return status, (got[0].header("traceparent") or "") if got else ""

            # a trace that somebody has begun: his span is the parent of ours, ours that of the server's
            status, told = ask("/slow?a=1", SAMPLED)
            span = collector.of("/slow")
            assert (span.trace, span.parent) == (TRACE, PARENT)
            assert told == f"00-{TRACE}-{span.id}-01"
            assert (span.kind, span.status, span.name, status) == (2, 0, "GET", 200)  # 2 = server
            found = span.attributes
            assert found["http.request.method"] == "GET"
            assert (found["url.path"], found["url.query"], found["url.scheme"]) == ("/slow", "a=1", "http")
            assert found["server.address"] == "shop.example"
            assert (found["client.address"], found["client.port"]) == client.local
            assert (found["http.response.status_code"], found["network.protocol.version"]) == (200, "1.1")
            assert found["user_agent.original"] == "test/1"
            assert (found["fastlb.frontend"], found["fastlb.backend"]) == ("web", "app")
            assert (found["fastlb.server"], found["fastlb.route"]) == (origin.name, "default")
            assert (found["fastlb.retries"], found["fastlb.termination"]) == (0, "----")
            assert found["http.response.size"] > 0 < found["http.request.size"]
            assert found["fastlb.response_ms"] >= 40 and found["fastlb.queue_ms"] >= 0 <= found["fastlb.connect_ms"]
            took = (span.end - span.start) / 1e6
            assert took + 0.01 >= found["fastlb.response_ms"] + found["fastlb.connect_ms"] + found["fastlb.queue_ms"]
            assert asked - 10**9 < span.start < span.end < time.time_ns() + 10**9
            assert span.resource["service.name"] == "edge" and span.resource["telemetry.sdk.name"] == "opentelemetry"
            post = collector.posts[0]
            assert (post.path, post.headers["authorization"]) == ("/v1/traces", "Bearer of-the-collector")

            # one that begins here
            _, told = ask("/begun")
            span = collector.of("/begun")
            assert (span.parent, told) == ("", f"00-{span.trace}-{span.id}-01")
            assert "url.query" not in span.attributes

            # errors: of a server, and of the balancer, which no server was told of
            assert ask("/ill")[0] == 500
            span = collector.of("/ill")
            assert (span.status, span.attributes["error.type"]) == (2, "500")
            assert ask("/down/1", SAMPLED)[0] == 503
            span = collector.of("/down/1")
            assert (span.name, span.status, span.attributes["error.type"]) == ("GET sick", 2, "503")
            assert (span.parent, span.attributes["fastlb.retries"]) == (PARENT, 1)
            assert span.message == span.attributes["fastlb.reason"] != ""
            assert "fastlb.response_ms" not in span.attributes
            # answered here: no server, no error
            assert ask("/moved")[0] == 302
            span = collector.of("/moved")
            assert (span.status, span.name, span.attributes["fastlb.route"]) == (0, "GET", "2")
            assert "fastlb.response_ms" not in span.attributes

            # somebody has decided against it: no span, and the server is told what came
            unsampled = SAMPLED[:-1] + "0"
            assert ask("/not", unsampled)[1] == unsampled
            # several at once over both workers, exactly once each
            for number in range(40):
                with RawClient(("127.0.0.1", port), timeout=30) as more:
                    more.get(f"/many/{number}", [("Connection", "close")])
            spans = collector.wait(45)
            assert sorted(s.attributes["url.path"] for s in spans if "/many/" in s.attributes["url.path"]) == sorted(
                f"/many/{number}" for number in range(40)
            )
            assert len(spans) == len({s.id for s in spans}) == 45
            assert "/not" not in {s.attributes["url.path"] for s in spans}
            wait_until(lambda: metric(admin, "fastlb_tracing_spans_exported_total") == 45, 10, "45 exported")
            assert metric(admin, "fastlb_tracing_spans_dropped_total") == 0

            # a reload takes them elsewhere, or to nobody
            assert "runs" in served.reload(text(port, origin, other.url + "/custom", admin=str(admin)))
            ask("/elsewhere")
            assert other.of("/elsewhere") and other.posts[0].path == "/custom"
            assert "runs" in served.reload(text(port, origin, "", admin=str(admin)))
            assert ask("/off", SAMPLED)[1] == SAMPLED  # no span of ours, so no parent of the server's
        # at the end what waits goes out before the program leaves
        assert "runs" in served.reload(text(port, origin, other.url, admin=str(admin)))
        with RawClient(("127.0.0.1", port), timeout=30) as client:
            client.get("/last", [("Connection", "close")])
        assert served.program.stop() == 0
        assert [s.attributes["url.path"] for s in other.spans] == ["/elsewhere", "/last"]
        assert len(collector.spans) == 45
        assert not re.search("Traceback|of-the-collector", served.program.output)


@pytest.mark.usefixtures("with_token")
def test_a_collector_that_is_not_there(serve: Callable[..., Served], tmp_path: Path, port: int) -> None:
    admin, place = tmp_path / "admin.sock", free_port()
    with Origin(respond("ok")) as origin:
        file = text(port, origin, f"http://127.0.0.1:{place}", admin=str(admin), workers=1,
                    tracing='queue = 100\ntimeout = "1s"')  # fmt: skip
        served = serve(file)
        with RawClient(("127.0.0.1", port), timeout=30) as client:
            for _ in range(400):
                assert client.get("/").status == 200
            served.program.wait_line(rf"WARNING: http://127.0.0.1:{place} does not take spans: ")
            wait_until(lambda: metric(admin, "fastlb_tracing_spans_dropped_total") == 400, 30, "400 dropped")
            with Collector(place) as collector:
                # it refuses for a moment, then takes them; none is counted twice
                collector.status = 400
                client.get("/refused")
                wait_until(lambda: collector.refused, 20, "a post")
                wait_until(lambda: metric(admin, "fastlb_tracing_spans_dropped_total") == 401, 20, "one more dropped")
                collector.status = 200
                client.get("/again")
                assert collector.of("/again")
                served.program.wait_line(r"takes spans again; \d+ posted in vain")
        assert metric(admin, "fastlb_tracing_spans_exported_total") == 1
        assert served.program.stop() == 0
        assert len(re.findall("does not take spans", served.program.output)) == 1


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration is refused, with what to install."""
    monkeypatch.setitem(__import__("sys").modules, "fastlb.runtime.otlp", None)
    spec = parse(
        {
            "tracing": {"endpoint": "http://127.0.0.1:4318"},
            "frontends": {"web": {"listen": ":0", "backend": "a", "forwarded": {"traceparent": True}}},
            "backends": {"a": {"servers": ["127.0.0.1:1"]}},
        }
    )
    with pytest.raises(ConfigError, match=r"tracing.endpoint.*pip install 'fastlb\[tracing\]'"):
        Spans(Events()).plan(spec)


def test_a_header_that_is_not_there() -> None:
    spec = parse(
        {
            "tracing": {"endpoint": "http://127.0.0.1:4318", "headers": {"x-key": "env:NO_SUCH_NAME"}},
            "frontends": {"web": {"listen": ":0", "backend": "a", "forwarded": {"traceparent": True}}},
            "backends": {"a": {"servers": ["127.0.0.1:1"]}},
        }
    )
    with pytest.raises(ConfigError, match=r"tracing.headers.x-key"):
        Spans(Events()).plan(spec)
