"""What clients send: versions, targets, methods, sizes, haste and delay, and the answers that fastlb gives itself."""

from __future__ import annotations

import json

import pytest

from .balancer import Balancer, Balancers
from .wire import Origin


def served(plain: Balancer, server: Origin, raw: str) -> str:
    """The request line that the server sees for `raw`; the answer must come back."""
    client = plain.dial().send(raw)
    wire, request = server.request()
    wire.answer("ok")
    assert client.response().text == "ok"
    return request.start


# --- HTTP/1.0


def test_http_10_closes(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("GET /x HTTP/1.0\r\n\r\n")
    wire, request = server.request()
    assert request.start == "GET /x HTTP/1.1"
    assert len(request.all("host")) == 1, "HTTP/1.1 needs a Host, an empty one if need be (RFC 9112 section 3.2)"
    wire.answer("ok")
    response = client.response()
    assert response.text == "ok"
    assert client.ended() == "fin"


def test_http_10_keep_alive(plain: Balancer, server: Origin) -> None:
    client = plain.dial()
    for i in range(3):
        client.get(f"/{i}", "Connection: keep-alive", version="1.0")
        wire, request = server.request()
        assert request.target == f"/{i}"
        assert "keep-alive" not in (request.get("connection") or "")
        wire.answer(str(i))
        response = client.response()
        assert response.get("connection") == "keep-alive"
        assert response.text == str(i)


def test_http_10_gets_no_chunks(plain: Balancer, server: Origin) -> None:
    client = plain.dial().get("/x", "Connection: keep-alive", version="1.0")
    wire, _ = server.request()
    wire.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\n"
    )
    response = client.response()
    assert response.get("transfer-encoding") is None
    assert response.get("connection") in (None, "close")
    assert (response.framing, response.text) == ("close", "hello world")


# --- targets and methods


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/a/b?c=d&e=%2F", "/a/b?c=d&e=%2F"),
        ("http://shop.example/a?b=c", "/a?b=c"),
        ("HTTP://shop.example", "/"),
        ("http://shop.example?q=1", "/?q=1"),
        ("/a/b//c", "/a/b//c"),
    ],
)
def test_targets(plain: Balancer, server: Origin, target: str, seen: str) -> None:
    host = "shop.example"
    assert served(plain, server, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n") == f"GET {seen} HTTP/1.1"


def test_absolute_target_decides_over_host(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("GET http://real.example:81/x HTTP/1.1\r\nHost: other.example\r\n\r\n")
    wire, request = server.request()
    assert (request.target, request.get("host")) == ("/x", "real.example:81")  # RFC 9112 section 3.2.2
    wire.answer("ok")
    client.response()


def test_options_star(plain: Balancer, server: Origin) -> None:
    assert served(plain, server, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n") == "OPTIONS * HTTP/1.1"


@pytest.mark.parametrize("method", ["TRACE", "DELETE", "PATCH", "PROPFIND", "X-ODD!"])
def test_methods_pass(plain: Balancer, server: Origin, method: str) -> None:
    assert served(plain, server, f"{method} /x HTTP/1.1\r\nHost: x\r\n\r\n") == f"{method} /x HTTP/1.1"


def test_connect_is_refused(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
    assert client.response().status == 405
    assert server.untouched()
    assert plain.logged("CONNECT example.com:443").status == 405


# --- refused heads


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: x\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5x\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400),
        ("GET /" + "a" * 9000 + " HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: " + "b" * 17000 + "\r\n\r\n", 431),
        ("GET / HTTP/1.1\r\nHost: x\r\n" + "A: b\r\n" * 100 + "\r\n", 431),
    ],
)
def test_refused(plain: Balancer, server: Origin, raw: str, status: int) -> None:
    client = plain.dial().send(raw)
    response = client.response()
    assert response.status == status
    assert response.get("connection") == "close"
    client.finish()
    assert client.ended() == "fin"
    assert server.untouched()


def test_limits_are_the_configured_ones(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, limits={"header_bytes": "1KB", "header_count": 5, "uri": "100B", "body": 10})

    def status(raw: str) -> int:
        client = lb.dial().send(raw)
        got = client.response().status
        client.finish()
        assert client.ended() == "fin"
        return got

    head = "POST / HTTP/1.1\r\nHost: x\r\n"
    assert status("GET /" + "a" * 100 + " HTTP/1.1\r\nHost: x\r\n\r\n") == 414
    assert status("GET / HTTP/1.1\r\nHost: x\r\nA: " + "b" * 1000 + "\r\n\r\n") == 431
    assert status("GET / HTTP/1.1\r\nHost: x\r\n" + "A: b\r\n" * 5 + "\r\n") == 431
    assert status(head + "Content-Length: 11\r\n\r\n") == 413
    assert status(head + "Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n") == 413
    assert origin.untouched()
    client = lb.dial().send("GET /" + "a" * 99 + " HTTP/1.1\r\nHost: x\r\n" + "A: b\r\n" * 4 + "\r\n")
    wire, _ = origin.request()
    wire.answer("ok")
    assert client.response().status == 200
    client.post("/", b"0123456789")
    assert wire.request().body == b"0123456789"
    wire.answer("ok")
    assert client.response().status == 200


def test_body_limit_where_the_length_is_not_known(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, limits={"body": 1000})
    client = lb.dial().send("POST /long HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire = origin.accept()
    wire.head()
    client.send("3e8\r\n" + "x" * 1000 + "\r\n")
    wire.exactly(5 + 1000 + 2)
    client.send("1\r\nx\r\n")
    assert client.response().status == 413
    assert wire.ended() == "reset"
    client.send("400\r\n" + "x" * 1024 + "\r\n")  # under way already: must not cost the answer
    client.finish()
    assert client.ended() == "fin"
    assert lb.logged("/long").term == "PR--"


def test_a_large_refused_head_is_read_away(plain: Balancer, server: Origin) -> None:
    """Closing on unread bytes would reset the connection and could destroy the answer (RFC 9112 section 9.6)."""
    client = plain.dial().send("GET / HTTP/1.1\r\nHost: x\r\nA: ", "b" * 20_000)
    assert client.held or not client.silent(5)
    for _ in range(10):
        client.send("b" * 20_000)
    assert client.response().status == 431
    client.finish()
    assert client.ended() == "fin"


# --- delay


def test_head_must_come_in_time(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, timeouts={"header": "300ms"})
    client = lb.dial().send("GET /slow HTTP/1.1\r\nHost: x\r\n")
    client.silent(0.15)
    client.send("A: b\r\n")  # a trickle does not extend the time
    response = client.response()
    assert response.status == 408
    assert client.ended() == "fin"
    assert lb.flagged("cR--").status == 408
    assert origin.untouched()


def test_body_must_come_on(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, timeouts={"client": "200ms"})
    client = lb.dial().send("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
    wire = origin.accept()
    wire.head()
    wire.exactly(5)
    assert client.response().status == 408
    assert wire.ended() == "reset"
    client.finish()
    assert client.ended() == "fin"
    line = lb.logged("/slow")
    assert (line.status, line.term) == (408, "cD--")


def test_server_must_answer_in_time(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, timeouts={"server": "200ms"})
    client = lb.dial().get("/slow", "Accept: application/json")
    wire, _ = origin.request()
    response = client.response()
    assert response.status == 504
    assert json.loads(response.text)["status"] == 504
    assert wire.ended() == "reset"
    line = lb.logged("/slow")
    assert (line.status, line.term, line.trr) == (504, "sH--", -1)
    assert line.ta >= 200
    assert "status=504" in lb.complained("in time")
    client.get("/next")  # the client's connection goes on
    wire, _ = origin.request()
    wire.answer("ok")
    assert client.response().text == "ok"


def test_an_upload_is_not_the_servers_delay(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, timeouts={"server": "200ms", "client": "5s"})
    client = lb.dial().send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
    wire = origin.accept()
    wire.head()
    wire.exactly(5)
    assert client.silent(0.4)
    client.send("67890")
    wire.exactly(5)
    wire.answer("ok")
    assert client.response().text == "ok"


# --- error pages


def test_error_page_in_html_or_json(balancer: Balancers) -> None:
    gone = Origin()
    gone.shut()
    lb = balancer(gone)
    client = lb.dial().get("/page", "Accept: text/html,application/xhtml+xml")
    page = client.response()
    assert page.status == 503
    assert (page.get("content-type") or "").startswith("text/html")
    assert "<h1>503" in page.text
    assert int(page.get("retry-after") or "0") >= 1
    client.get("/page", "Accept: application/json")
    page = client.response()
    assert page.get("content-type") == "application/json"
    error = json.loads(page.text)
    assert (error["status"], error["error"]) == (503, "Service Unavailable")
    assert error["reason"]
    client.get("/page", method="HEAD")
    page = client.response("HEAD")
    assert page.status == 503
    assert int(page.get("content-length") or "0") > 0
    client.get("/page")  # and the connection still goes on
    assert client.response().status == 503
    assert lb.logged("/page").term == "SC--"


def test_error_page_is_not_a_mirror(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("GET /<script>x</script> HTTP/1.1\r\nHost: <b>\r\n\r\n")
    response = client.response()
    assert response.status == 400
    assert "<script>" not in response.text
    assert "<b>" not in response.text
    assert server.untouched()
