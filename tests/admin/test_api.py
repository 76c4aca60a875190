"""The API of a running program: what it shows, what it changes, whom it lets."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ConfigDict, TypeAdapter, with_config

from fastlb import __version__
from fastlb.admin import shapes
from tests.admin.conftest import TOKEN, Api, Fastlb, Origins, Start
from tests.e2e.toml import dump
from tests.helpers import ROOT, SLOWNESS, Program, free_port, wait_until


def fits(shape: Any, value: Any) -> None:
    """The value is exactly of the declared shape, which is what OpenAPI promises."""
    TypeAdapter(with_config(ConfigDict(extra="forbid"))(shape)).validate_python(value, strict=False)


CHECKED = {"health_check": {"path": "/health", "interval": "100ms", "rise": 1, "fall": 1}}


def test_what_it_shows(fastlb: Start, origins: Origins) -> None:
    lb = fastlb(*origins.servers, {"name": "gone", "address": f"127.0.0.1:{free_port()}"}, backend=CHECKED)
    wait_until(lambda: lb.api.get("/v1/backends/app")["servers"]["DOWN"] == 1, what="the server that is not there")
    wait_until(
        lambda: all(s["check"]["status"] != "INI" for s in lb.api.get("/v1/backends/app/servers")["servers"]),
        what="the first check of each",
    )
    for target, statuses in (("/", [200] * 7), ("/status/404", [404] * 2), ("/status/500", [500])):
        assert [lb.request(target) for _ in statuses] == statuses
    lb.settled(10)

    info = lb.api.get("/v1/info")
    fits(shapes.InfoView, info)
    assert (info["version"], info["phase"], info["ready"], info["changes"]) == (__version__, "ready", True, "token")
    assert info["pid"] == lb.program.pid
    assert info["totals"]["requests_total"] == 10
    assert [w["state"] for w in info["workers"]] == ["ready", "ready"]
    children = Path(f"/proc/{lb.program.pid}/task/{lb.program.pid}/children").read_text().split()
    assert {w["pid"] for w in info["workers"]} == {int(child) for child in children}
    assert all(w["beats"] > 0 and w["beat_age"] < 5 * SLOWNESS and w["resident_bytes"] > 10**6 for w in info["workers"])
    assert lb.unix.get("/v1/info")["changes"] == "yes"

    frontends = lb.api.get("/v1/frontends")
    fits(shapes.FrontendList, frontends)
    (web,) = frontends["frontends"]
    assert web["responses"] == {"1xx": 0, "2xx": 7, "3xx": 0, "4xx": 2, "5xx": 1, "other": 0}
    assert (web["listen"], web["counters"]["requests"]) == ([f"127.0.0.1:{lb.ports['web']}"], 10)
    assert web["counters"]["connections"] == 10
    assert web["latency"]["overall"]["requests"] == 10
    assert 0 < web["latency"]["overall"]["p50"] <= web["latency"]["overall"]["p99"] < 5 * SLOWNESS

    backends = lb.api.get("/v1/backends?history=1")
    fits(shapes.BackendList, backends)
    (app,) = backends["backends"]
    assert (app["state"], app["servers"]["UP"], app["servers"]["DOWN"], app["algorithm"]) == ("UP", 2, 1, "two_choices")
    assert len(app["history"]["requests"]) == len(app["history"]["p99"]) <= 120

    servers = lb.api.get("/v1/backends/app/servers")
    fits(shapes.ServerList, servers)
    assert [s["name"] for s in servers["servers"]] == ["s1", "s2", "gone"]
    assert sum(s["counters"]["requests"] for s in servers["servers"]) == 10
    gone = servers["servers"][2]
    assert (gone["state"], gone["status"], gone["downs"]) == ("DOWN", "DOWN", 1)
    assert gone["reason"].startswith("health check failed: L4CON (Connection refused)")
    assert (gone["check"]["status"], gone["check"]["type"]) == ("L4CON", "http")
    assert gone["check"]["failed"] >= 1
    up = lb.api.get(f"/v1/backends/app/servers/127.0.0.1:{origins.ports[0]}")
    fits(shapes.ServerView, up)
    assert (up["name"], up["check"]["status"], up["check"]["code"]) == ("s1", "L7OK", 200)
    assert lb.api.get("/v1/servers?state=DOWN")["total"] == 1
    assert [s["name"] for s in lb.api.get("/v1/servers?limit=1&offset=1")["servers"]] == ["s2"]
    fits(shapes.FrontendView, lb.api.get("/v1/frontends/web?history=true"))
    fits(shapes.WorkerList, lb.api.get("/v1/workers"))


def test_requests_in_flight_are_seen(fastlb: Start, origins: Origins) -> None:
    lb = fastlb(*origins.servers)
    connection = http.client.HTTPConnection("127.0.0.1", lb.ports["web"], timeout=20 * SLOWNESS)
    connection.request("GET", "/hold")
    wait_until(lambda: origins.held, what="the request at the origin")
    assert lb.api.get("/v1/frontends/web")["in_flight"] == 1
    assert sum(s["in_flight"] for s in lb.api.get("/v1/servers")["servers"]) == 1
    origins.release()
    assert connection.getresponse().read() == b"x" * 100
    wait_until(lambda: lb.api.get("/v1/frontends/web")["in_flight"] == 0, what="nothing in flight")
    assert lb.api.get("/v1/frontends/web")["connections"] == 1
    connection.close()
    wait_until(lambda: lb.api.get("/v1/frontends/web")["connections"] == 0, what="no connection")


@pytest.mark.parametrize("workers", [0, 2])
def test_states_change_where_requests_go(fastlb: Start, origins: Origins, workers: int) -> None:
    lb = fastlb(*origins.servers, workers=workers, backend={"balance": "round_robin"})
    for state, word in (("drain", "DRAIN"), ("maint", "MAINT")):
        answer = lb.admin.patch("app/s1", state=state, reason=" a \n test ")
        assert (answer.status, answer.json["state"], answer.json["status"]) == (200, word, word)
        assert answer.json["reason"] == f"set to {state} by the operator: a test"
        before = lb.api.get("/v1/backends/app/servers/s1")["counters"]["requests"]
        assert [lb.request() for _ in range(6)] == [200] * 6
        assert lb.api.get("/v1/backends/app/servers/s1")["counters"]["requests"] == before
    answer = lb.unix.ask("/v1/backends/app/servers/s1/state", "PUT", {"state": "ready"})
    assert (answer.status, answer.json["state"]) == (200, "UP")
    before = lb.api.get("/v1/backends/app/servers/s1")["counters"]["selected"]
    assert [lb.request() for _ in range(6)] == [200] * 6
    assert lb.api.get("/v1/backends/app/servers/s1")["counters"]["selected"] == before + 3


def test_weight_and_limit(fastlb: Start, origins: Origins) -> None:
    lb = fastlb(*origins.servers, workers=0, backend={"balance": "weighted_round_robin"})
    answer = lb.unix.patch("app/s1", weight=3, max_connections=5)
    assert (answer.json["weight"], answer.json["effective_weight"], answer.json["max_connections"]) == (3, 3, 5)
    assert [lb.request() for _ in range(8)] == [200] * 8
    counts = [s["counters"]["selected"] for s in lb.api.get("/v1/servers")["servers"]]
    assert counts == [6, 2]
    texts = [e["text"] for e in lb.api.get("/v1/events")["events"] if e["subject"] == "app/s1"]
    assert texts == ["weight 1 is now 3", "max_connections 0 is now 5"]


def test_who_may_change(fastlb: Start, origins: Origins) -> None:
    lb = fastlb(*origins.servers, workers=0)
    refused = lb.api.patch("app/s1", state="drain")
    assert (refused.status, refused.fields["content-type"]) == (401, "application/problem+json")
    assert refused.fields["www-authenticate"] == 'Bearer realm="fastlb"'
    fits(shapes.ProblemView, refused.json)
    for wrong in ("Bearer wrong", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"):
        answer = Api(lb.api.place, {"Authorization": wrong}).patch("app/s1", state="drain")
        assert (answer.status, "invalid_token" in answer.fields["www-authenticate"]) == (401, True)
    assert lb.api.get("/v1/backends/app/servers/s1")["state"] == "UP"
    assert Api(lb.api.place, {"Authorization": f"bearer {TOKEN}"}).patch("app/s1", state="drain").status == 200
    assert lb.unix.patch("app/s1", state="ready").status == 200


@pytest.mark.parametrize("settings", [{"token": None}, {"read_only": True}])
def test_a_listener_that_takes_no_changes(fastlb: Start, origins: Origins, settings: dict[str, Any]) -> None:
    lb = fastlb(*origins.servers, workers=0, admin=settings)
    for api in (lb.api, lb.admin):
        answer = api.patch("app/s1", state="drain")
        assert (answer.status, "read-only" in answer.json["detail"]) == (403, True)
        assert api.get("/v1/info")["changes"] == "no"
    assert lb.unix.patch("app/s1", state="drain").status == 200


@pytest.mark.parametrize("form", ["env", "file"])
def test_a_token_from_elsewhere(fastlb: Start, origins: Origins, tmp_path: Path, form: str) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    reference = "env:THE_TOKEN" if form == "env" else f"file:{tmp_path / 'token'}"
    lb = fastlb(*origins.servers, workers=0, admin={"token": reference}, env={"THE_TOKEN": TOKEN})
    assert lb.admin.patch("app/s1", weight=2).status == 200
    assert lb.api.patch("app/s1", weight=2).status == 401


@pytest.mark.parametrize(
    ("admin", "message"),
    [
        ({"listen": "127.0.0.1:0", "token": "env:NO_SUCH_NAME"}, "NO_SUCH_NAME is not set"),
        ({"listen": "127.0.0.1:0", "token": "file:/no/such/file"}, "/no/such/file: No such file or directory"),
        ({"listen": "127.0.0.1:0", "token": "env:SHORT"}, "at least 16 characters"),
        ({"listen": "0.0.0.0:0"}, "reachable from other machines"),
        ({"socket": "/no/such/folder/sock"}, "admin.socket"),
    ],
)
def test_refused_at_the_start(start: Any, tmp_path: Path, admin: dict[str, str], message: str) -> None:
    file = tmp_path / "x.toml"
    frontends = {"web": {"listen": "127.0.0.1:0", "backend": "app"}}
    file.write_text(dump({"admin": admin, "frontends": frontends, "backends": {"app": {"servers": ["127.0.0.1:1"]}}}))
    program: Program = start([sys.executable, "-m", "fastlb", "serve", "-c", file], cwd=ROOT, env={"SHORT": "x"})
    assert program.wait(30) in (1, 2)
    assert message in program.output
    assert "Traceback" not in program.output


def test_an_address_in_use(fastlb: Start, origins: Origins, start: Any, tmp_path: Path) -> None:
    lb = fastlb(*origins.servers, workers=0)
    assert isinstance(lb.api.place, tuple)
    for admin in ({"listen": f"127.0.0.1:{lb.api.place[1]}"}, {"socket": lb.unix.place}):
        file = tmp_path / "second.toml"
        frontends = {"web": {"listen": "127.0.0.1:0", "backend": "app"}}
        parts = {"admin": admin, "frontends": frontends, "backends": {"app": {"servers": ["127.0.0.1:1"]}}}
        file.write_text(dump(parts))
        program: Program = start([sys.executable, "-m", "fastlb", "serve", "-c", file], cwd=ROOT)
        assert program.wait(30) == 1
        assert "the address is in use by another program" in program.output
    assert lb.unix.get("/v1/info")["ready"]


def test_the_socket_is_private_and_a_stale_file_no_obstacle(fastlb: Start, origins: Origins, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    lb = fastlb(*origins.servers, workers=0)
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    lb.program.send(signal.SIGTERM)
    assert lb.program.wait() == 0
    assert not path.exists()


def test_hosts_of_other_sites_are_refused(shared: Fastlb) -> None:
    lb = shared
    for host in ("evil.example", "evil.example:8404", "localhost.evil.example", "127.0.0.1.evil.example", ""):
        answer = lb.api.ask("/v1/info", headers={"Host": host})
        assert (answer.status, answer.json["status"]) == (421, 421)
    for host in ("localhost", "LOCALHOST:1", "localhost.", "127.0.0.1:9", "[::1]:80"):
        assert lb.api.ask("/v1/info", headers={"Host": host}).status == 200
    assert lb.unix.ask("/v1/info", headers={"Host": "anything"}).status == 200


def test_every_answer_is_safe_for_browsers(shared: Fastlb) -> None:
    lb = shared
    for target in ("/v1/info", "/metrics", "/healthz", "/nothing", "/stats;csv"):
        fields = lb.api.ask(target, headers={"Origin": "http://evil.example"}).fields
        assert fields["x-content-type-options"] == "nosniff"
        assert fields["x-frame-options"] == "DENY"
        assert fields["cache-control"] == "no-store"
        assert "default-src 'none'" in fields["content-security-policy"]
        assert "access-control-allow-origin" not in fields
        assert "server" not in fields
    assert lb.api.ask("/v1/backends/app/servers/s1", "OPTIONS").status == 405


@pytest.mark.parametrize(
    ("target", "method", "data", "status"),
    [
        ("/v1/nothing", "GET", None, 404),
        ("/v1/backends/nope", "GET", None, 404),
        ("/v1/frontends/nope", "GET", None, 404),
        ("/v1/backends/app/servers/nope", "GET", None, 404),
        ("/v1/backends/nope/servers/s1", "PATCH", {"weight": 1}, 404),
        ("/v1/backends/app/servers/s1", "PUT", None, 405),
        ("/v1/backends/app/servers/s1", "PATCH", {}, 422),
        ("/v1/backends/app/servers/s1", "PATCH", {"weight": 65536}, 422),
        ("/v1/backends/app/servers/s1", "PATCH", {"weight": "1"}, 422),
        ("/v1/backends/app/servers/s1", "PATCH", {"wait": 1}, 422),
        ("/v1/backends/app/servers/s1", "PATCH", {"state": "up"}, 422),
        ("/v1/backends/app/servers/s1", "PATCH", b"{", 422),
        ("/v1/backends/app/servers/s1", "PATCH", b'{"reason": "' + b"x" * (4 << 20) + b'"}', 413),
        ("/v1/servers?limit=0", "GET", None, 422),
        ("/v1/servers?state=ILL", "GET", None, 422),
        ("/metrics?scope=nothing", "GET", None, 400),
    ],
)
def test_errors_are_problems(shared: Fastlb, target: str, method: str, data: Any, status: int) -> None:
    answer = shared.unix.ask(target, method, data)
    assert answer.status == status
    assert answer.fields["content-type"] == "application/problem+json"
    fits(shapes.ProblemView, answer.json)
    assert answer.json["status"] == status


def test_a_body_without_a_length_has_a_limit_too(shared: Fastlb) -> None:
    def pieces() -> Any:
        for _ in range(20):
            yield b"x" * 300_000

    connection = shared.unix.connect()
    connection.request("PATCH", "/v1/backends/app/servers/s1", pieces(), {"Content-Type": "application/json"})
    assert connection.getresponse().status in (400, 413)
    connection.close()


def test_connections_without_a_request_are_closed(shared: Fastlb) -> None:
    lb = shared
    assert isinstance(lb.api.place, tuple)
    with (
        socket.create_connection(lb.api.place, 30 * SLOWNESS) as idle,
        socket.create_connection(lb.api.place, 30 * SLOWNESS) as slow,
    ):
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert idle.recv(100) == b""
        assert slow.recv(100) == b""


def test_head_answers_like_get(shared: Fastlb) -> None:
    answer = shared.api.ask("/v1/info", "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.fields["content-length"]) > 100


def test_openapi_describes_the_routes(shared: Fastlb) -> None:
    described = shared.api.get("/v1/openapi.json")
    paths = described["paths"]
    assert {"/v1/info", "/v1/servers", "/v1/events", "/metrics", "/healthz", "/stats;csv"} <= set(paths)
    assert "patch" in paths["/v1/backends/{backend}/servers/{server}"]
    assert "ServerView" in described["components"]["schemas"]


def test_alive_and_ready(fastlb: Start, origins: Origins) -> None:
    lb = fastlb(*origins.servers, timeouts={"drain": "20s"})
    assert (lb.api.ask("/healthz").status, lb.api.ask("/readyz").text) == (200, "ready\n")
    connection = http.client.HTTPConnection("127.0.0.1", lb.ports["web"], timeout=20 * SLOWNESS)
    connection.request("GET", "/hold")
    wait_until(lambda: origins.held, what="the request at the origin")
    lb.program.send(signal.SIGTERM)
    wait_until(lambda: lb.api.ask("/readyz").status == 503, what="no longer ready")
    assert (lb.api.ask("/readyz").text, lb.api.ask("/healthz").status) == ("draining\n", 200)
    assert lb.api.get("/v1/info")["phase"] == "draining"
    origins.release()
    assert connection.getresponse().status == 200
    connection.close()
    assert lb.program.wait(20) == 0


def test_not_ready_without_a_worker(fastlb: Start, origins: Origins) -> None:
    """A worker that stands still is still there; one that was stopped and killed is not until its successor accepts."""
    lb = fastlb(*origins.servers, workers=1)
    (first,) = lb.workers()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: lb.api.get("/v1/workers")["workers"][0]["starts"] == 2, what="the second worker")
    wait_until(lambda: lb.api.ask("/readyz").status == 200, what="ready again")
    assert lb.workers() != [first]
    texts = [e["text"] for e in lb.api.get("/v1/events")["events"] if e["kind"] == "worker"]
    assert f"pid {first} was killed by SIGKILL; 0 requests were on it" in texts


def test_events_and_their_stream(fastlb: Start, origins: Origins) -> None:
    lb = fastlb(*origins.servers, workers=0, backend=CHECKED)
    before = lb.api.get("/v1/events")["last"]
    connection = lb.api.connect()
    connection.request("GET", "/v1/events", headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    assert response.getheader("content-type", "").startswith("text/event-stream")

    def next_event() -> dict[str, str]:
        found: dict[str, str] = {}
        while True:
            line = response.readline().decode().rstrip("\n")
            if not line and "data" in found:
                return found
            key, _, value = line.partition(": ")
            if key and line[0] != ":":
                found[key] = value

    origins.health = 500
    seen = {next_event()["id"] for _ in range(4)}
    assert seen == {str(before + n) for n in (1, 2, 3, 4)}
    connection.close()

    found = lb.api.get(f"/v1/events?after={before}&limit=4")
    fits(shapes.EventList, found)
    assert sorted((e["subject"], e["old"], e["new"], e["level"]) for e in found["events"]) == [
        ("app", "", "", "error"),
        ("app", "UP", "DOWN", "error"),
        ("app/s1", "UP", "DOWN", "warning"),
        ("app/s2", "UP", "DOWN", "warning"),
    ]
    assert lb.api.get("/v1/backends/app")["state"] == "DOWN"
    assert all("L7STS (status 500)" in e["text"] for e in found["events"] if e["new"])
    assert [e["text"].partition(":")[0] for e in found["events"] if not e["new"]] == ["panic"]

    # resumed by the number of the last event seen
    connection = lb.api.connect()
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(before + 3)}
    connection.request("GET", "/v1/events", headers=headers)
    response = connection.getresponse()
    assert next_event()["id"] == str(before + 4)
    lb.program.send(signal.SIGTERM)  # ends the stream, and is not held up by it
    assert lb.program.wait(20) == 0
    connection.close()
