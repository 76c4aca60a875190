"""What goes wrong between fastlb and servers, or with the client: tried again where nothing was lost, else told.

Every outcome is checked with its termination flags in the log, as HAProxy defines them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from .balancer import Balancer, Balancers
from .servers import Answering
from .wire import BrokenOff, Origin, Wire

FIRST = {"balance": "first"}  # the first usable server in the order of the configuration


def closed() -> Origin:
    """An address where nobody listens."""
    origin = Origin()
    origin.shut()
    return origin


@pytest.fixture
def deaf() -> Iterator[str]:
    """An address that answers no SYN: its queue of connections is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
        waiting.append(sock)
    yield "{}:{}".format(*listener.getsockname())
    for sock in (listener, *waiting):
        sock.close()


# --- connecting


def test_refused_connection_goes_to_another_server(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(closed(), origin, backend=FIRST)
    client = lb.dial().post("/post", b"body")  # nothing of it was sent: any method
    server, request = origin.request()
    assert request.body == b"body"
    server.answer("ok")
    assert client.response().text == "ok"
    line = lb.logged("/post")
    assert (line.status, line.server, line.retries, line.term) == (200, "s1", "+1", "----")


def test_connect_timeout_goes_to_another_server(balancer: Balancers, origin: Origin, deaf: str) -> None:
    lb = balancer(deaf, origin, backend=FIRST, timeouts={"connect": "200ms"})
    client = lb.dial().send("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
    server = origin.accept()
    assert server.head().target == "/slow"
    client.send("def")
    assert server.exactly(6) == b"abcdef"
    server.answer("ok")
    assert client.response().text == "ok"
    line = lb.logged("/slow")
    assert line.retries == "+1"
    assert line.ta >= 200


def test_nobody_listens(balancer: Balancers) -> None:
    lb = balancer(closed(), closed(), backend=FIRST)
    client = lb.dial().get("/refused")
    response = client.response()
    assert (response.status, response.get("retry-after")) == (503, "1")
    line = lb.logged("/refused")
    assert (line.term, line.retries, line.tc, line.trr) == ("SC--", "+1", -1, -1)
    assert "connection to server failed" in lb.complained("status=503")


def test_nobody_accepts(balancer: Balancers, deaf: str) -> None:
    lb = balancer(deaf, timeouts={"connect": "150ms"})
    client = lb.dial().get("/deaf")
    assert client.response().status == 503
    line = lb.logged("/deaf")
    assert (line.term, line.tc) == ("sC--", -1)


def test_no_server_has_a_weight(balancer: Balancers, origin: Origin) -> None:
    lb = balancer({"address": origin.address, "weight": 0})
    assert lb.dial().get("/none").response().status == 503
    line = lb.logged("/none")
    assert (line.server, line.term) == ("<NOSRV>", "SC--")
    assert origin.untouched()


def test_backup_server_serves_when_the_others_refuse(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(closed(), {"name": "spare", "address": origin.address, "backup": True}, backend=FIRST)
    client = lb.dial().get("/spare")
    server, _ = origin.request()
    server.answer("ok")
    assert client.response().text == "ok"
    assert lb.logged("/spare").server == "spare"


def test_at_most_so_many_tries(balancer: Balancers) -> None:
    origins = [Origin() for _ in range(4)]
    lb = balancer(*origins, backend={**FIRST, "retries": 2})
    client = lb.dial().get("/tries")
    for origin in origins[:3]:
        server, _ = origin.request()
        server.close()
    assert client.response().status == 502
    assert origins[3].untouched()
    line = lb.logged("/tries")
    assert (line.term, line.retries, line.server) == ("SH--", "+2", "s2")


def test_no_tries_at_all(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(closed(), origin, backend={**FIRST, "retries": 0})
    assert lb.dial().get("/once").response().status == 503
    assert origin.untouched()
    assert lb.logged("/once").retries == "0"


# --- kept connections that the server has given up


def kept(lb: Balancer, origin: Origin) -> tuple[Wire, Wire]:
    """A client and a server connection that is idle in the pool."""
    client = lb.dial().get("/first")
    server, _ = origin.request()
    server.answer("ok")
    assert client.response().text == "ok"
    return client, server


@pytest.mark.parametrize("how", ["close", "reset"])
def test_stale_connection_is_replaced(balancer: Balancers, origin: Origin, how: str) -> None:
    lb = balancer(origin)
    client, server = kept(lb, origin)
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        client.send(f"{method} /stale HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
        assert server.request().body == b"body"
        getattr(server, how)()
        server, request = origin.request()
        assert (request.method, request.body) == (method, b"body")
        server.answer("" if method == "HEAD" else "again")
        assert client.response(method).status == 200
        line = lb.logged(f"{method} /stale")
        assert (line.status, line.term) == (200, "----")
        assert line.retries.lstrip("+") == "1"


def test_stale_connection_goes_to_another_server_first(balancer: Balancers, origin: Origin) -> None:
    other = Origin()
    lb = balancer(origin, other, backend=FIRST)
    client, server = kept(lb, origin)
    client.get("/stale")
    server.request()
    server.close()
    server, _ = other.request()
    server.answer("other")
    assert client.response().text == "other"
    assert lb.logged("/stale").retries == "+1"


def test_long_upload_avoids_a_connection_that_is_closed_already(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin)
    for i in range(10):
        client, server = kept(lb, origin)
        server.close()
        client.send(f"PUT /put{i} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        server = origin.accept()
        assert server.head().method == "PUT"
        client.send("def")
        assert server.exactly(6) == b"abcdef"
        server.answer("ok", "Connection: close")
        assert client.response().text == "ok"
        client.close()


@pytest.mark.parametrize("reused", [True, False])
def test_post_is_not_sent_twice(balancer: Balancers, origin: Origin, reused: bool) -> None:
    other = Origin()
    lb = balancer(origin, other, backend=FIRST)
    if reused:
        client, server = kept(lb, origin)
        client.post("/twice", b"pay")
        server.request()
    else:
        client = lb.dial().post("/twice", b"pay")
        server, _ = origin.request()
    server.close()
    assert client.response().status == 502
    assert origin.untouched()
    assert other.untouched()
    line = lb.logged("/twice")
    assert (line.term, line.retries) == ("SH--", "0")


def test_post_avoids_a_connection_that_is_closed_already(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin)
    for i in range(20):  # the close may be known before the request or not: both must do
        client, server = kept(lb, origin)
        server.close()
        client.post(f"/post{i}", b"x")
        server, request = origin.request()
        assert request.method == "POST"
        server.answer("ok", "Connection: close")
        assert client.response().text == "ok"
        client.close()


def test_upload_that_went_to_one_server_only_is_not_repeated(balancer: Balancers, origin: Origin) -> None:
    other = Origin()
    lb = balancer(origin, other, backend=FIRST)
    client = lb.dial().send("PUT /large HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n", b"x" * 300_000)
    server = origin.accept()
    server.head()
    server.exactly(300_000)
    server.reset()
    response = client.response()
    assert (response.status, response.get("connection")) == (502, "close")
    assert other.untouched()


def test_interim_answer_is_an_answer(balancer: Balancers, origin: Origin) -> None:
    """A server that has begun to answer has begun to work: no second try."""
    other = Origin()
    lb = balancer(origin, other, backend=FIRST)
    client = lb.dial().get("/begun")
    server, _ = origin.request()
    server.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert client.response().status == 103
    server.close()
    assert client.response().status == 502
    assert other.untouched()
    assert lb.logged("/begun").term == "SH--"


# --- what servers answer


MALFORMED = {
    "garbage": b"\x00\x01\x02\x03 nonsense\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "old version": b"HTTP/0.9 200 OK\r\n\r\n",
    "new version": b"HTTP/2.0 200 OK\r\n\r\n",
    "line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "space before colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "null": b"HTTP/1.1 200 OK\r\nX-A: b\x00c\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "other coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked, gzip\r\n\r\n",
    "first chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "unasked switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "huge head": b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 100_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_response(plain: Balancer, server: Origin, name: str) -> None:
    client = plain.dial().get(f"/bad?{name.replace(' ', '_')}")
    wire, _ = server.request()
    wire.send(MALFORMED[name])
    response = client.response()
    assert response.status == 502
    assert b"nonsense" not in response.body
    assert wire.ended() in ("reset", "fin")
    client.get("/good")  # nothing of it clings to the client's connection
    wire, _ = server.request()
    wire.answer("good")
    assert client.response().text == "good"
    assert plain.logged(f"/bad?{name.replace(' ', '_')} ").term == "PH--"


def test_malformed_chunk_after_the_head_went_out(plain: Balancer, server: Origin) -> None:
    client = plain.dial().get("/bad-chunk")
    wire, _ = server.request()
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    client.head()
    assert client.exactly(10) == b"5\r\nhello\r\n"
    wire.send("zzz\r\n")
    with pytest.raises(BrokenOff):
        client.until(b"\r\n")
    assert plain.logged("/bad-chunk").term == "PD--"


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_server_that_closes_within_its_head(plain: Balancer, server: Origin, sent: bytes) -> None:
    client = plain.dial().post(f"/cut{len(sent)}", b"")
    wire, _ = server.request()
    wire.send(sent)
    wire.close()
    assert client.response().status == 502
    assert plain.logged(f"/cut{len(sent)} ").term == "SH--"


def test_bytes_after_the_answer_reach_nobody(balancer: Balancers, origin: Origin) -> None:
    client = balancer(origin).dial().get("/")
    server, _ = origin.request()
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    assert client.response().text == "ok"
    assert server.ended() in ("fin", "reset")
    client.get("/")
    server, _ = origin.request()
    server.answer("clean")
    assert client.response().text == "clean"


def test_server_errors_are_passed_on(plain: Balancer, server: Origin) -> None:
    client = plain.dial().get("/503")
    wire, _ = server.request()
    wire.answer("mine", "Retry-After: 99", status="503 Service Unavailable")
    response = client.response()
    assert (response.status, response.text, response.get("retry-after")) == (503, "mine", "99")
    assert plain.logged("/503").term == "----"


# --- clients that leave


def test_client_that_leaves_while_the_server_works(plain: Balancer, server: Origin) -> None:
    # An end before the first event of a connection is taken for that of its request: so this is not the first one.
    client = plain.dial().get("/before")
    wire, _ = server.request()
    wire.answer("x")
    client.response()
    client.get("/left-waiting")
    wire, _ = server.request()
    client.close()
    assert wire.ended() == "reset"  # at once: no answer was under way
    line = plain.logged("/left-waiting")
    assert (line.term, line.status, line.trr) == ("CH--", -1, -1)


def test_client_that_leaves_during_the_answer(plain: Balancer, server: Origin) -> None:
    client = plain.dial().get("/left-reading")
    wire, _ = server.request()
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "x" * 1000)
    client.head()
    client.close()
    assert wire.ended() == "reset"
    assert plain.logged("/left-reading").term == "CD--"


def test_client_that_leaves_during_its_upload(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("POST /left-sending HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "x" * 10)
    wire = server.accept()
    wire.head()
    wire.exactly(10)
    client.reset()
    assert wire.ended() == "reset"
    line = plain.logged("/left-sending")
    assert line.term[0] == "C"


def test_client_that_leaves_while_connecting(balancer: Balancers, deaf: str) -> None:
    lb = balancer(deaf)
    before = lb.descriptors()
    client = lb.dial().get("/left-early")
    assert client.silent(0.1)  # an end that comes together with the request is not taken for a departure
    client.close()
    assert lb.logged("/left-early").term == "CC--"
    lb.settled(before)


# --- the queue


@pytest.fixture
def narrow(balancer: Balancers, origin: Origin) -> Balancer:
    """One request at a time, two may wait, for a while."""
    return balancer(origin, backend={"max_connections": 1, "max_queue": 2}, timeouts={"queue": "400ms"})


def test_queue_serves_in_order(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, backend={"max_connections": 1})
    clients = []
    server: Wire | None = None
    for i in range(4):
        clients.append(lb.dial().get(f"/{i}"))
        if server is None:
            server, _ = origin.request()
        else:
            assert clients[-1].silent(0.03)
    assert server is not None
    for i, client in enumerate(clients):
        if i:
            assert server.request().target == f"/{i}"
        server.answer(str(i))
        assert client.response().text == str(i)
    assert origin.untouched()
    line = lb.logged("/3")
    assert line.term == "----"
    assert line.bq == 2  # ahead of it when it came
    assert line.tw > 20


def test_queue_waits_only_so_long(narrow: Balancer, origin: Origin) -> None:
    busy = narrow.dial().get("/busy")
    server, _ = origin.request()
    waiting = narrow.dial().get("/waiting")
    response = waiting.response()
    assert (response.status, response.get("retry-after")) == (503, "1")
    line = narrow.logged("/waiting")
    assert (line.term, line.server, line.tc) == ("sQ--", "<NOSRV>", -1)
    assert line.tw >= 350
    server.answer("ok")
    assert busy.response().text == "ok"
    waiting.get("/later")
    server.request()
    server.answer("later")
    assert waiting.response().text == "later"


def test_queue_is_bounded(narrow: Balancer, origin: Origin) -> None:
    narrow.dial().get("/busy")
    origin.request()
    first, second = narrow.dial().get("/1"), narrow.dial().get("/2")
    assert first.silent(0.02)
    assert second.silent(0.02)
    third = narrow.dial().get("/3")
    assert third.response().status == 503
    assert narrow.logged("/3").term == "SQ--"


def test_client_that_leaves_the_queue(narrow: Balancer, origin: Origin) -> None:
    busy = narrow.dial().get("/busy")
    server, _ = origin.request()
    leaving, staying = narrow.dial().get("/leaving"), narrow.dial().get("/staying")
    assert staying.silent(0.02)
    leaving.close()
    line = narrow.logged("/leaving")
    assert (line.term, line.server) == ("CQ--", "<NOSRV>")
    server.answer("ok")
    busy.response()
    assert server.request().target == "/staying"
    server.answer("ok")
    assert staying.response().text == "ok"


def test_upload_waits_in_the_queue(narrow: Balancer, origin: Origin) -> None:
    busy = narrow.dial().get("/busy")
    server, _ = origin.request()
    upload = narrow.dial().send("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n", "x" * 100_000)
    assert upload.silent(0.05)
    server.answer("ok")
    busy.response()
    assert server.head().target == "/up"
    upload.send("x" * 200_000)
    assert len(server.exactly(300_000)) == 300_000
    server.answer("ok")
    assert upload.response().text == "ok"


def test_a_failed_server_gives_its_place_back(balancer: Balancers, origin: Origin) -> None:
    """Whatever way an exchange ends, it frees its server: else the queue would stall for ever."""
    lb = balancer(origin, backend={"max_connections": 1, "retries": 0}, timeouts={"server": "150ms", "queue": "5s"})

    def served() -> None:
        client = lb.dial().get("/ok")
        wire, _ = origin.request()
        wire.answer("ok", "Connection: close")
        assert client.response().text == "ok"

    for i in range(7):
        client = (
            lb.dial().get(f"/end{i}")
            if i != 5
            else lb.dial().send("POST /end5 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        )
        wire = origin.accept()
        wire.head()
        if i == 0:
            wire.close()
        elif i == 1:
            wire.send("garbage\r\n\r\n")
        elif i == 2:
            client.close()
        elif i == 3:
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
            client.head()
            client.reset()
        elif i == 4:
            pass  # times out
        elif i == 5:
            client.send("zz\r\n")
        elif i == 6:
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
            wire.close()
        served()


def test_many_clients_few_places(balancer: Balancers) -> None:
    """Hundreds wait for three places on each of two servers; all are served, never more than three at once on one."""
    with Answering() as one, Answering() as two:
        lb = balancer(one.address, two.address, backend={"max_connections": 3}, timeouts={"queue": "30s"})
        clients = [lb.dial().get(f"/{i}") for i in range(200)]
        assert [c.response().status for c in clients] == [200] * 200
        assert one.served + two.served == 200
        assert min(one.served, two.served) > 20
        assert max(one.most, two.most) <= 3
