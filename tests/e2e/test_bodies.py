"""Bodies both ways: every framing, streamed as they come, never whole in memory."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.helpers import wait_until

from .balancer import Balancer, Balancers
from .wire import BrokenOff, Origin, Wire

MB = 1_000_000


def pair(plain: Balancer, server: Origin, *lines: str, method: str = "GET") -> tuple[Wire, Wire]:
    """A client that has sent a request, and the server connection that has received it."""
    client = plain.dial().get("/x", *lines, method=method)
    wire, request = server.request()
    assert request.target == "/x"
    return client, wire


# --- requests


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 70_000, 300_000, 3_000_000])
def test_request_with_length(plain: Balancer, server: Origin, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    client = plain.dial()
    sender = threading.Thread(target=client.post, args=("/x", body[:size]))
    sender.start()
    wire, request = server.request()
    sender.join()
    assert request.framing == "length"
    assert request.body == body[:size]
    wire.answer("ok")
    assert client.response().text == "ok"


def test_request_in_chunks_is_passed_on_as_it_comes(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire = server.accept()
    assert wire.head().get("transfer-encoding") == "chunked"
    for part in (b"one", b"two", b"three"):
        client.send(b"%x;ext=1\r\n%s\r\n" % (len(part), part))
        line = wire.until(b"\r\n")
        assert int(line.split(b";")[0], 16) == len(part)
        assert wire.until(b"\r\n") == part + b"\r\n"
    client.send("0\r\nX-Sum: 11\r\n\r\n")
    assert wire.until(b"\r\n") == b"0\r\n"
    assert wire.until(b"\r\n\r\n").lower() == b"x-sum: 11\r\n\r\n"
    wire.answer("ok")
    assert client.response().text == "ok"


def test_server_is_called_before_the_request_body_is_there(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n")
    wire = server.accept()
    assert wire.head().get("content-length") == "6"
    client.send("abc")
    assert wire.exactly(3) == b"abc"
    client.send("def")
    assert wire.exactly(3) == b"def"
    wire.answer("ok")
    assert client.response().text == "ok"


def test_broken_chunk_ends_the_exchange(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send(
        "POST /broken-chunk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    )
    wire = server.accept()
    wire.head()
    assert wire.exactly(8) == b"3\r\nabc\r\n"
    client.send("zz\r\n")
    assert client.response().status == 400
    assert wire.ended() == "reset"  # whatever the server read cannot pass for a whole request
    assert client.ended() == "fin"
    assert plain.logged("/broken-chunk").term == "PR--"


# --- responses


def test_response_in_chunks_is_passed_on_as_it_comes(plain: Balancer, server: Origin) -> None:
    client, wire = pair(plain, server, "TE: trailers")
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
    assert client.head().get("transfer-encoding") == "chunked"
    for part in (b"one", b"two" * 1000):
        wire.send(b"%x\r\n%s\r\n" % (len(part), part))
        assert client.until(b"\r\n") == b"%x\r\n" % len(part)
        assert client.exactly(len(part) + 2) == part + b"\r\n"
    wire.send("0\r\nX-Sum: 7\r\n\r\n")
    assert client.until(b"\r\n\r\n").lower() == b"0\r\nx-sum: 7\r\n\r\n"
    client.get("/x")  # the connection goes on
    wire, _ = server.request()
    wire.answer("next")
    assert client.response().text == "next"


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_response_in_any_two_pieces(plain: Balancer, server: Origin, cut: int) -> None:
    client, wire = pair(plain, server)
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    wire.send(raw[:cut])
    wire.silent(0.005)  # most likely read by now
    wire.send(raw[cut:])
    assert client.response().body == b"hello"


def test_response_until_close(plain: Balancer, server: Origin) -> None:
    client, wire = pair(plain, server)
    wire.send("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n")
    head = client.head()
    assert head.get("connection") == "close"
    wire.send("part one, ")
    assert client.exactly(10) == b"part one, "
    wire.send("part two")
    wire.close()
    assert client.rest() == b"part two"


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked", "X-None: 1"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_broken_off_response_never_looks_complete(plain: Balancer, server: Origin, framing: str, version: str) -> None:
    client = plain.dial().get(f"/broken?{framing[:3]}{version}", version=version)
    wire, _ = server.request()
    wire.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n", "5\r\nhello\r\n")
    head = client.head()
    assert head.status == 200
    assert client.exactly(5)
    wire.reset()
    with pytest.raises(BrokenOff):
        if head.get("transfer-encoding"):
            client.until(b"0\r\n\r\n")
        elif length := head.get("content-length"):
            client.exactly(int(length) - 5)
        else:
            client.rest()  # only a reset tells
    assert plain.logged(f"/broken?{framing[:3]}{version}").term == "SD--"


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_response_cut_by_an_orderly_close_is_broken_off_too(plain: Balancer, server: Origin, framing: str) -> None:
    client = plain.dial().get("/cut", version="1.0")
    wire, _ = server.request()
    wire.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n", "5\r\nhello\r\n")
    wire.close()
    client.head()
    with pytest.raises(BrokenOff):
        client.rest()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_stalled_response_is_broken_off(balancer: Balancers, origin: Origin, version: str) -> None:
    lb = balancer(origin, timeouts={"server": "200ms"})
    client = lb.dial().get("/stalled", version=version)
    wire, _ = origin.request()
    wire.send("HTTP/1.1 200 OK\r\n\r\n", "hello")
    client.head()
    assert client.exactly(5) == b"hello"
    with pytest.raises(BrokenOff):
        client.rest()
    assert lb.logged("/stalled").term == "sD--"


def test_head_204_and_304_have_no_body(plain: Balancer, server: Origin) -> None:
    client, wire = pair(plain, server, method="HEAD")
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    assert client.response("HEAD").get("content-length") == "1000"
    for status, line in (("204 No Content", "X-A: 1"), ("304 Not Modified", "Content-Length: 1000")):
        client.get("/x")
        wire, _ = server.request()
        wire.send(f"HTTP/1.1 {status}\r\n{line}\r\n\r\n")
        assert client.response().start == f"HTTP/1.1 {status}"
    client.get("/x")
    wire, _ = server.request()
    wire.answer("after")
    assert client.response().text == "after"


def test_head_of_a_chunked_resource(plain: Balancer, server: Origin) -> None:
    client, wire = pair(plain, server, method="HEAD")
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert client.response("HEAD").status == 200
    client.get("/x")
    wire, _ = server.request()
    wire.answer("after")
    assert client.response().text == "after"


# --- interim and early answers


def test_expect_100_continue(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    wire = server.accept()
    assert wire.head().get("expect") == "100-continue"
    assert client.silent(0.05)  # the balancer promises nothing by itself
    wire.send("HTTP/1.1 100 Continue\r\n\r\n")
    assert client.response().status == 100
    client.send("data")
    assert wire.exactly(4) == b"data"
    wire.answer("stored")
    assert client.response().text == "stored"


def test_expect_that_the_server_refuses(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    wire = server.accept()
    wire.head()
    wire.answer("no", status="417 Expectation Failed")
    response = client.response()
    assert response.status == 417
    assert response.get("connection") == "close"  # nobody can tell whether the body still comes
    client.finish()
    assert client.ended() == "fin"


def test_interim_answers_are_forwarded(plain: Balancer, server: Origin) -> None:
    client, wire = pair(plain, server)
    wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
    early = client.response()
    assert (early.status, early.get("link")) == (103, "</a.css>; rel=preload")
    wire.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.response().status == 102
    assert client.response().text == "ok"


def test_interim_answers_never_reach_http_10(plain: Balancer, server: Origin) -> None:
    client = plain.dial().get("/x", version="1.0")
    wire, _ = server.request()
    wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.response().text == "ok"


def test_endless_interim_answers_end(plain: Balancer, server: Origin) -> None:
    client, wire = pair(plain, server)
    wire.send("HTTP/1.1 102 Processing\r\n\r\n" * 100)
    statuses = [client.response().status]
    while statuses[-1] == 102:
        statuses.append(client.response().status)
    assert statuses[-1] == 502
    assert len(statuses) < 40


def test_answer_before_the_end_of_the_request(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", b"x" * 1000)
    wire = server.accept()
    wire.head()
    wire.exactly(1000)
    wire.answer("too much", "Connection: close", status="413 Content Too Large")
    response = client.response()
    assert (response.status, response.text) == (413, "too much")
    assert response.get("connection") == "close"
    wire.close()
    client.send(b"x" * 100_000)  # what was under way meets no reset before the answer is read
    assert client.ended() == "fin"


def test_answer_streamed_while_the_request_still_comes(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire = server.accept()
    wire.head()
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.head()
    for i in range(3):  # question and answer by turns
        client.send(f"2\r\nq{i}\r\n")
        assert wire.exactly(7) == f"2\r\nq{i}\r\n".encode()
        wire.send(f"2\r\na{i}\r\n")
        assert client.exactly(7) == f"2\r\na{i}\r\n".encode()
    client.send("0\r\n\r\n")
    assert wire.exactly(5) == b"0\r\n\r\n"
    wire.send("0\r\n\r\n")
    assert client.exactly(5) == b"0\r\n\r\n"
    client.get("/x")
    wire, _ = server.request()
    wire.answer("next")
    assert client.response().text == "next"


# --- half-close


def test_client_that_says_all_and_half_closes(balancer: Balancers, origin: Origin) -> None:
    client = balancer(origin, frontend={"abort_on_close": False}).dial().get("/x").finish()
    wire, _ = origin.request()
    wire.answer("still here")
    assert client.response().text == "still here"
    assert client.ended() == "fin"


def test_request_and_half_close_in_one(plain: Balancer, server: Origin) -> None:
    """An end that comes together with the request belongs to it, also where a client that closes counts as gone."""
    client = plain.dial()
    client.sock.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", socket.MSG_MORE)  # held back for the FIN
    client.finish()
    wire, _ = server.request()
    wire.answer("ok")
    assert client.response().text == "ok"
    assert client.ended() == "fin"


def test_half_close_in_the_middle_of_a_request(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("GET /x HTTP/1.1\r\nHo").finish()
    assert client.response().status == 400
    assert client.ended() == "fin"


def test_half_close_in_the_middle_of_a_body(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send("POST /half-body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
    wire = server.accept()
    wire.head()
    wire.exactly(5)
    client.finish()
    assert wire.ended() == "reset"
    assert plain.logged("/half-body").term.startswith("C")


# --- back pressure


@pytest.fixture
def roomy(balancer: Balancers) -> tuple[Balancer, Origin]:
    origin = Origin(receive_buffer=8192)
    return balancer(origin), origin


def test_slow_reader_of_a_large_body(roomy: tuple[Balancer, Origin]) -> None:
    lb, origin = roomy
    client = lb.dial(receive_buffer=8192).get("/x")
    wire, _ = origin.request()
    size = 100 * MB
    wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
    client.head()
    before = lb.memory()
    sent = flood(wire, size)
    assert sent < 20 * MB, "the kernel's buffers hold so much; the rest is the balancer's"
    assert lb.memory() - before < 2 * MB
    rest = threading.Thread(target=wire.send, args=(b"x" * (size - sent),))
    rest.start()
    got = 0
    while got < size:
        block = client.exactly(min(MB, size - got))
        assert block.count(b"x") == len(block)
        got += len(block)
    rest.join()
    assert lb.memory() - before < 4 * MB


def test_slow_server_of_a_large_upload(roomy: tuple[Balancer, Origin]) -> None:
    lb, origin = roomy
    size = 100 * MB
    client = lb.dial().send(f"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n")
    wire = origin.accept()
    wire.head()
    before = lb.memory()
    sent = flood(client, size)
    assert sent < 20 * MB
    assert lb.memory() - before < 2 * MB
    rest = threading.Thread(target=client.send, args=(b"x" * (size - sent),))
    rest.start()
    got = 0
    while got < size:
        got += len(wire.exactly(min(MB, size - got)))
    rest.join()
    wire.answer("ok")
    assert client.response().text == "ok"
    assert lb.memory() - before < 4 * MB


def flood(wire: Wire, limit: int) -> int:
    """Sends until nothing more is taken for a moment; returns how many bytes were."""
    block = b"x" * 65536
    sent = 0
    wire.sock.settimeout(0.3)
    try:
        while sent < limit:
            sent += wire.sock.send(block[: limit - sent])
    except TimeoutError:
        pass
    finally:
        wire.sock.settimeout(30)
    return sent


def test_client_that_stops_reading_is_cut(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, timeouts={"client": "300ms"})
    client = lb.dial(receive_buffer=8192).get("/unread")
    wire, _ = origin.request()
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        wire.send(b"x" * 100 * MB)
    assert lb.logged("/unread").term == "cD--"
    with pytest.raises(BrokenOff):
        while True:
            client.exactly(65536)


def test_client_that_owes_its_body_during_an_early_answer_is_cut(balancer: Balancers, origin: Origin) -> None:
    """Having read what there is of the answer does not excuse it from sending."""
    lb = balancer(origin, timeouts={"client": "300ms"})
    client = lb.dial(receive_buffer=8192).send("POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    wire = origin.accept()
    wire.head()
    size = 12 * MB
    wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size + 1}\r\n\r\n")
    sender = threading.Thread(target=wire.send, args=(b"x" * size,))
    sender.start()
    client.head()
    client.exactly(size)
    sender.join()
    with pytest.raises(BrokenOff):
        client.exactly(1)
    assert lb.logged("/early").term == "cD--"


def test_client_that_reads_slowly_is_not_cut(balancer: Balancers, origin: Origin) -> None:
    """Slower than the time allowed for one block, as long as something moves."""
    lb = balancer(origin, timeouts={"client": "400ms"})
    client = lb.dial(receive_buffer=65536).get("/x")
    wire, _ = origin.request()
    size = 12 * MB
    sender = threading.Thread(target=wire.answer, args=(b"x" * size,))
    sender.start()
    client.head()
    got = 0
    while got < size:  # more than a second in all
        got += len(client.exactly(min(256 * 1024, size - got)))
        if got < 10 * MB:
            client.sock.settimeout(0.03)
            threading.Event().wait(0.03)
            client.sock.settimeout(10)
    sender.join()


def test_a_pause_of_the_client_is_not_the_servers(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, timeouts={"server": "200ms", "client": "10s"})
    client = lb.dial(receive_buffer=8192).get("/x")
    wire, _ = origin.request()
    size = 20 * MB
    sender = threading.Thread(target=wire.answer, args=(b"x" * size,))
    sender.start()
    client.head()
    sender.join(0.7)
    assert sender.is_alive()
    assert len(client.exactly(size)) == size
    sender.join()


def test_a_pause_of_the_server_is_not_the_clients(balancer: Balancers) -> None:
    origin = Origin(receive_buffer=8192)
    lb = balancer(origin, timeouts={"server": "10s", "client": "200ms"})
    size = 20 * MB
    client = lb.dial().send(f"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n")
    wire = origin.accept()
    wire.head()
    sender = threading.Thread(target=client.send, args=(b"x" * size,))
    sender.start()
    sender.join(0.7)
    assert sender.is_alive()
    assert len(wire.exactly(size)) == size
    sender.join()
    wire.silent(0.4)  # thinking about it
    wire.answer("ok")
    assert client.response().text == "ok"


def test_no_timeouts_at_all(balancer: Balancers, origin: Origin) -> None:
    """0 means never: a reader that pauses and an idle connection live on."""
    never = dict.fromkeys(("connect", "header", "client", "server", "idle", "tunnel", "queue"), 0)
    lb = balancer(origin, timeouts=never)
    client = lb.dial(receive_buffer=8192).get("/x")
    wire, _ = origin.request()
    size = 20 * MB
    sender = threading.Thread(target=wire.answer, args=(b"x" * size,))
    sender.start()
    client.head()
    assert not client.silent(0.3)
    assert len(client.exactly(size)) == size
    sender.join()
    assert client.silent(0.2)
    client.get("/x")
    wire.request()
    wire.answer("ok")
    assert client.response().text == "ok"
    wait_until(lambda: lb.program.process.poll() is None, what="it still runs")
