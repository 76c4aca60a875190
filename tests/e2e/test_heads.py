"""What becomes of heads on their way: fields of one hop, who the client is, rules, paths, routes, local answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from .balancer import Balancer, Balancers
from .wire import Message, Origin, Wire

Ask = Callable[..., Message]


def sees(lb: Balancer, server: Origin, *lines: str, target: str = "/x", **options: Any) -> Message:
    """The request as the server gets it."""
    client = lb.dial(**options).get(target, *lines)
    wire, request = server.request()
    wire.answer("ok")
    assert client.response().status == 200
    return request


def gets(lb: Balancer, server: Origin, *lines: str, target: str = "/x") -> Message:
    """The response as the client gets it when the server sends `lines`."""
    client = lb.dial().get(target)
    wire, _ = server.request()
    wire.answer("ok", *lines)
    return client.response()


# --- fields of one hop


def test_hop_by_hop_fields_end_at_the_balancer(plain: Balancer, server: Origin) -> None:
    request = sees(
        plain, server, "Connection: keep-alive, X-Secret, x-other", "X-Secret: 1", "X-Other: 2", "X-Kept: 3",
        "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: trailers, gzip", "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
    )  # fmt: skip
    names = {name for name, _ in request.fields}
    assert "x-kept" in names
    assert not names & {"x-secret", "x-other", "keep-alive", "proxy-connection", "upgrade", "http2-settings"}
    response = gets(
        plain, server, "Connection: X-Secret", "X-Secret: 1", "X-Kept: 2", "Keep-Alive: timeout=9", "Upgrade: h2c"
    )
    names = {name for name, _ in response.fields}
    assert "x-kept" in names
    assert not names & {"x-secret", "keep-alive", "upgrade"}


def test_connection_cannot_take_away_what_matters(plain: Balancer, server: Origin) -> None:
    client = plain.dial().post("/x", b"body", "Connection: Content-Length, Host, X-Forwarded-For")
    wire, request = server.request()
    assert (request.body, request.get("host")) == (b"body", "x")
    assert request.get("x-forwarded-for") == "127.0.0.1"
    wire.answer("ok")
    client.response()


def test_te_trailers_is_passed_on(plain: Balancer, server: Origin) -> None:
    request = sees(plain, server, "TE: trailers", "Connection: TE")
    assert request.get("te") == "trailers"
    assert "te" in (request.get("connection") or "").lower()


def test_fields_keep_order_case_and_value(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("GET /x HTTP/1.1\r\nhOsT: x\r\nX-B:  two words \r\nx-a: 1\r\nX-B: \xe9t\xe9\r\n\r\n")
    wire = server.accept()
    head = wire.until(b"\r\n\r\n")
    assert re.search(rb"hOsT: x\r\nX-B:\s+two words\s*\r\nx-a: 1\r\nX-B: \xe9t\xe9\r\n", head)
    wire.send(
        "HTTP/1.1 200 Fine \xe9\r\nX-B: 1\r\nx-A:2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    )
    head = client.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 Fine \xe9\r\nX-B: 1\r\nx-A:2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n")


def test_date_is_added_where_it_is_missing(plain: Balancer, server: Origin) -> None:
    assert gets(plain, server).get("date")
    assert gets(plain, server, "Date: Mon, 01 Jan 2024 00:00:00 GMT").get("date") == "Mon, 01 Jan 2024 00:00:00 GMT"


# --- who the client is


FORGED = (
    "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1",
    "Forwarded: for=6.6.6.6", "X-Request-ID: forged",
)  # fmt: skip


def test_identity_by_default(plain: Balancer, server: Origin) -> None:
    request = sees(plain, server, *FORGED)
    assert request.get("x-forwarded-for") == "127.0.0.1"
    assert request.get("x-forwarded-proto") == "http"
    for name in ("x-forwarded-host", "x-forwarded-port", "forwarded", "x-request-id"):
        assert request.get(name) is None, f"{name} of an untrusted client was passed on"


FRESH = {"pool": {"size": 0}}  # every request on a connection of its own
ALL = {"x_forwarded_host": True, "x_forwarded_port": True, "forwarded": True, "x_request_id": True}


def test_identity_all_on(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, frontend={"forwarded": ALL}, backend=FRESH)
    request = sees(lb, origin, *FORGED)
    assert request.get("x-forwarded-for") == "127.0.0.1"
    assert request.get("x-forwarded-proto") == "http"
    assert request.get("x-forwarded-host") == "x"
    assert request.get("x-forwarded-port") == str(lb.ports["web"])
    assert request.get("forwarded") == 'for=127.0.0.1;host="x";proto=http'
    first = request.get("x-request-id") or ""
    assert len(first) >= 16
    assert first != "forged"
    assert sees(lb, origin).get("x-request-id") not in (None, first)


def test_identity_from_trusted_networks(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(
        origin, frontend={"forwarded": {**ALL, "trust": ["127.0.0.2/32"]}}, backend=FRESH, log={"format": "json"}
    )
    request = sees(lb, origin, *FORGED, source="127.0.0.2")
    assert request.get("x-forwarded-for") == "6.6.6.6, 127.0.0.2"
    assert request.get("x-forwarded-proto") == "https"
    assert request.get("x-forwarded-host") == "evil"
    assert request.get("x-forwarded-port") == "1"
    assert (request.get("forwarded") or "").startswith("for=6.6.6.6, for=127.0.0.2")
    assert request.get("x-request-id") == "forged"
    assert lb.program.wait_line('"forged"'), "the log names the request as its sender does"
    request = sees(lb, origin, *FORGED, source="127.0.0.3")
    assert request.get("x-forwarded-for") == "127.0.0.3"
    assert request.get("x-request-id") != "forged"


def test_identity_off(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, frontend={"forwarded": {"x_forwarded_for": False, "x_forwarded_proto": False}})
    request = sees(lb, origin, *FORGED)
    assert [name for name, _ in request.fields] == ["host"]


# --- rules


@pytest.fixture(scope="module")
def ruled(shared_balancer: Balancers, server: Origin) -> Balancer:
    """Frontend, route and backend each with rules for both heads."""

    def rules(level: str) -> dict[str, Any]:
        return {
            "request_headers": {
                "remove": [f"X-Drop-{level}"], "set": {"X-Set": level, f"X-{level}": "1"}, "add": {"X-Add": level},
            },
            "response_headers": {
                "remove": [f"X-Drop-{level}"], "set": {"X-Set": level},
                "add": {"Set-Cookie": [f"{level}=1", f"{level}=2"]},
            },
        }  # fmt: skip

    return shared_balancer(
        server,
        frontend={
            **rules("front"),
            "routes": [
                {"path": "/strip/*", "backend": "app", "rewrite": {"strip_prefix": "/strip"}, **rules("route")},
                {"path": "/old/*", "backend": "app", "rewrite": {"replace_prefix": ["/old", "/new"]}},
                {"path": "/set", "backend": "app", "rewrite": {"set": "/fixed"}},
            ],
        },
        backend={"pool": {"size": 0}, **rules("back")},
    )


def test_rules_of_all_levels(ruled: Balancer, server: Origin) -> None:
    server.forget()
    lines = ("X-Drop-Front: 1", "x-drop-ROUTE: 1", "X-Drop-Back: 1", "X-Set: client", "X-Add: client", "X-Keep: 1")
    request = sees(ruled, server, *lines, target="/strip/a")
    names = [name for name, _ in request.fields]
    assert not [n for n in names if n.startswith("x-drop")]
    assert request.get("x-set") == "back"  # the last one wins
    assert request.all("x-add") == ["client", "front", "route", "back"]
    assert request.get("x-keep") == "1"
    assert {"x-front", "x-route", "x-back"} <= set(names)
    response = gets(ruled, server, *lines, "Set-Cookie: own=1", target="/strip/a")
    assert not [n for n, _ in response.fields if n.startswith("x-drop")]
    assert response.get("x-set") == "back"
    assert response.all("set-cookie") == ["own=1", "front=1", "front=2", "route=1", "route=2", "back=1", "back=2"]


def test_rules_of_a_route_hold_there_alone(ruled: Balancer, server: Origin) -> None:
    server.forget()
    request = sees(ruled, server, "X-Drop-Route: 1", target="/elsewhere")
    assert request.get("x-drop-route") == "1"
    assert request.all("x-add") == ["front", "back"]


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/strip/a/b?q=1", "/a/b?q=1"),
        ("/strip", "/"),
        ("/strip/", "/"),
        ("/strip?q", "/?q"),
        ("/stripped", "/stripped"),
        ("/old/a?q=/old/b", "/new/a?q=/old/b"),
        ("/older", "/older"),
        ("/set?q=1", "/fixed?q=1"),
    ],
)
def test_paths_are_rewritten(ruled: Balancer, server: Origin, target: str, seen: str) -> None:
    server.forget()
    assert sees(ruled, server, target=target).target == seen


# --- routes


@pytest.fixture(scope="module")
def routed(shared_balancer: Balancers) -> Balancer:
    """Every kind of condition; each route answers with its own name."""

    def to(name: str, **conditions: Any) -> dict[str, Any]:
        return {"name": name, "respond": {"body": name}, **conditions}

    return shared_balancer(
        frontend={
            "routes": [
                to("both", host="api.example.com", path="/v1/*", methods=["GET"]),
                to("exact_host", host=["api.example.com", "www.example.com"]),
                to("wildcard_host", host="*.example.com"),
                to("exact_path", path="/exact"),
                to("prefix", path="/prefix/*"),
                to("glob", path="/img/*.png"),
                to("inner_glob", path="/a/*/c"),
                to("method", path="/m", methods=["POST", "PUT"]),
                to("header", path="/h", headers={"X-Beta": "1"}),
                to("header_there", path="/h", headers={"X-There": "*"}),
                to("header_glob", path="/h", headers={"User-Agent": "curl*"}),
                to("query", path="/q", query={"v": "2"}),
                to("query_there", path="/q", query={"flag": "*"}),
                to("source", path="/s", source=["127.0.0.2/31"]),
                to("first", path="/twice"),
                to("second", path="/twice"),
            ],
        },
    )


@pytest.mark.parametrize(
    ("request_line", "lines", "route"),
    [
        ("GET /v1/x", ["Host: api.example.com"], "both"),
        ("GET /v1/x", ["Host: API.Example.COM:8080"], "both"),
        ("POST /v1/x", ["Host: api.example.com"], "exact_host"),
        ("GET /", ["Host: www.example.com"], "exact_host"),
        ("GET /", ["Host: a.b.example.com"], "wildcard_host"),
        ("GET /", ["Host: example.com"], ""),
        ("GET /", ["Host: evilexample.com"], ""),
        ("GET /exact", [], "exact_path"),
        ("GET /exact?q", [], "exact_path"),
        ("GET /exact/", [], ""),
        ("GET /Exact", [], ""),
        ("GET /prefix", [], "prefix"),
        ("GET /prefix/a/b", [], "prefix"),
        ("GET /prefixed", [], ""),
        ("GET /%70refix/x", [], "prefix"),
        ("GET /other/../prefix/x", [], "prefix"),
        ("GET /img/a.png", [], "glob"),
        ("GET /img/a.jpg", [], ""),
        ("GET /a/b/c", [], "inner_glob"),
        ("POST /m", ["Content-Length: 0"], "method"),
        ("GET /m", [], ""),
        ("GET /h", ["X-Beta: 1"], "header"),
        ("GET /h", ["x-beta: 2"], ""),
        ("GET /h", ["X-There: anything"], "header_there"),
        ("GET /h", ["User-Agent: curl/8.1"], "header_glob"),
        ("GET /q?a=1&v=2", [], "query"),
        ("GET /q?v=22", [], ""),
        ("GET /q?flag", [], "query_there"),
        ("GET /s", [], ""),
        ("GET /twice", [], "first"),
        ("GET http://api.example.com/v1/y", ["Host: x"], "both"),
    ],
)
def test_routes(routed: Balancer, request_line: str, lines: list[str], route: str) -> None:
    host = [] if any(x.startswith("Host") for x in lines) else ["Host: x"]
    client = routed.dial().send("\r\n".join([f"{request_line} HTTP/1.1", *host, *lines, "", ""]))
    response = client.response()
    assert (response.status, response.text if response.status == 200 else "") == ((200, route) if route else (404, ""))


def test_route_by_source_network(routed: Balancer) -> None:
    assert routed.dial(source="127.0.0.3").get("/s").response().text == "source"
    assert routed.dial(source="127.0.0.4").get("/s").response().status == 404


def test_routes_to_backends_and_the_default(balancer: Balancers) -> None:
    first, second = Origin(), Origin()
    lb = balancer(
        first,
        frontend={"routes": [{"host": "two.example", "backend": "two"}]},
        backends={"two": {"servers": [second.address]}},
    )
    client = lb.dial()
    wires: dict[str, Wire] = {}
    for host, origin in (("x", first), ("two.example", second), ("x", first), ("two.example:80", second)):
        client.send(f"GET /{host} HTTP/1.1\r\nHost: {host}\r\n\r\n")
        key = origin.address
        wires[key] = wires.get(key) or origin.accept()
        assert wires[key].request().get("host") == host
        wires[key].answer(host)
        assert client.response().text == host


def test_no_route_and_no_backend(routed: Balancer) -> None:
    client = routed.dial().get("/no-such")
    assert client.response().status == 404
    client.get("/exact")
    assert client.response().text == "exact_path"
    line = routed.logged("/no-such")
    assert (line.status, line.server, line.term) == (404, "<NOSRV>", "PR--")


# --- local answers


@pytest.fixture(scope="module")
def local(shared_balancer: Balancers) -> Balancer:
    return shared_balancer(
        frontend={
            "routes": [
                {"path": "/old/*", "redirect": "https://{host}/new{path}?{query}"},
                {"path": "/moved", "redirect": {"location": "{scheme}://www.example{uri}", "status": 308}},
                {
                    "path": "/teapot",
                    "respond": {
                        "status": 418,
                        "body": "short & stout",
                        "content_type": "text/tea",
                        "headers": {"X-T": "1"},
                    },
                },
                {"path": "/empty", "respond": {"status": 204}},
            ],
        },
    )


def test_redirects(local: Balancer) -> None:
    client = local.dial().get("/old/a?b=c")
    response = client.response()
    assert (response.status, response.get("location")) == (302, "https://x/new/old/a?b=c")
    client.get("/moved?x=1", method="POST")
    response = client.response()
    assert (response.status, response.get("location")) == (308, "http://www.example/moved?x=1")
    line = local.logged("/moved?x=1")
    assert (line.status, line.term, line.server) == (308, "LR--", "<NOSRV>")


def test_fixed_responses(local: Balancer) -> None:
    client = local.dial().get("/teapot")
    response = client.response()
    assert (response.status, response.text) == (418, "short & stout")
    assert (response.get("content-type"), response.get("x-t")) == ("text/tea", "1")
    client.get("/teapot", method="HEAD")
    assert client.response("HEAD").get("content-length") == "13"
    client.get("/empty")
    assert client.response().status == 204
    client.get("/empty", version="1.0")
    assert client.response().status == 204
    assert client.ended() == "fin"


def test_local_answer_to_an_upload_closes(local: Balancer) -> None:
    client = local.dial().send("POST /teapot HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "x" * 1000)
    response = client.response()
    assert (response.status, response.get("connection")) == (418, "close")
    client.send("x" * 99_000).finish()
    assert client.ended() == "fin"


def test_redirect_to_https(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, frontend={"redirect_https": True})
    client = lb.dial().send("GET /a?b HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n")
    response = client.response()
    assert response.status == 301
    assert response.get("location") == "https://shop.example/a?b"
    client.post("/a", b"")
    assert client.response().status == 308
    assert origin.untouched()
