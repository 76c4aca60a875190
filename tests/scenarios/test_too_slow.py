"""Clients that are too slow: docs/slow-clients.md, with real processes. No other timeout may end what is seen here."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.admin.conftest import Api
from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import BrokenOff, Origin, Wire
from tests.helpers import free_port, wait_until

WINDOW = 0.5  # seconds


@pytest.fixture(scope="module")
def played() -> Iterator[Origin]:
    """A server whose every step the test takes itself."""
    one = Origin(keep=True)
    yield one
    one.shut()


@pytest.fixture(scope="module")
def files() -> Iterator[Answering]:
    with Answering(lambda request: b"x" * int(request.target[1:])) as one:
        yield one


@pytest.fixture(scope="module")
def lb(shared_balancer: Balancers, played: Origin, files: Answering) -> Balancer:
    admin = free_port()
    lb = shared_balancer(
        played.address,
        frontends={"files": {"listen": f"127.0.0.1:{free_port()}", "backend": "files"}},
        backends={"files": {"servers": [files.address]}},
        admin={"listen": f"127.0.0.1:{admin}"},
        limits={"min_request_rate": "10KB/s", "min_response_rate": "1MB/s", "min_rate_window": f"{WINDOW:g}s"},
        timeouts={"client": "1h", "header": "1h", "server": "1h", "idle": "1h"},
    )
    lb.ports["admin"] = admin
    return lb


def cut_off(lb: Balancer, at: str, frontend: str = "web") -> int:
    """How many clients were, so far."""
    text = Api(("127.0.0.1", lb.ports["admin"])).text("/metrics")
    match = re.search(rf'^fastlb_frontend_slow_clients_total{{proxy="{frontend}",at="{at}"}} (\d+)', text, re.MULTILINE)
    assert match
    return int(match[1])


def test_a_body_that_trickles_is_refused(lb: Balancer, played: Origin) -> None:
    before = cut_off(lb, "request")
    with lb.dial() as c:
        c.send("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\ny")
        with played.accept() as s:
            s.head()
            while c.silent(WINDOW / 10):
                c.send(b"y")
            answer = c.response()
            assert (answer.status, answer.get("connection")) == (408, "close")
            with pytest.raises(BrokenOff):  # and the server is not left waiting for the rest
                s.exactly(100_000)
    logged = lb.logged("POST /slow")
    assert (logged.status, logged.term[:2]) == (408, "cD")
    assert lb.complained("client sends the request body too slowly")
    assert cut_off(lb, "request") == before + 1


def test_a_chunked_body_that_trickles_is_refused_too(lb: Balancer, played: Origin) -> None:
    with lb.dial() as c:
        c.send("POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ny\r\n")
        with played.accept() as s:
            s.head()
            while c.silent(WINDOW / 10):
                c.send(b"1\r\ny\r\n")
            assert c.response().status == 408


def test_who_waits_for_a_slow_server_is_not_cut_off(lb: Balancer, played: Origin) -> None:
    """The server takes nothing of the body for two windows and more, then all."""
    size = 16_000_000
    before = cut_off(lb, "request")
    with lb.dial() as c:
        c.send(f"POST /patient HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n")
        with played.accept() as s:
            s.head()
            sent = fill(c, b"y" * size)
            assert sent < size
            assert c.silent(2.4 * WINDOW)
            c.sock.settimeout(30)
            done = s.sock.makefile("rb")
            left = size
            while left:
                if sent < size:
                    sent += fill(c, b"y" * (size - sent))
                left -= len(done.read1(1_000_000))
            s.answer(b"thanks")
            assert c.response().text == "thanks"
    assert cut_off(lb, "request") == before


def fill(c: Wire, data: bytes) -> int:
    """Sends as much as goes without waiting."""
    c.sock.setblocking(False)
    sent = 0
    try:
        while sent < len(data):
            sent += c.sock.send(data[sent : sent + 262144])
    except BlockingIOError:
        pass
    finally:
        c.sock.settimeout(30)
    return sent


def test_who_waits_for_100_continue_is_not_cut_off(lb: Balancer, played: Origin) -> None:
    with lb.dial() as c:
        c.send("POST /expect HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        with played.accept() as s:
            s.head()
            assert c.silent(2.4 * WINDOW)
            s.send("HTTP/1.1 100 Continue\r\n\r\n")
            assert c.head().status == 100
            c.send(b"yes")
            assert s.exactly(3) == b"yes"
            s.answer(b"ok")
            assert c.response().text == "ok"


def test_a_client_that_does_not_read_is_cut_off(lb: Balancer, played: Origin) -> None:
    before = cut_off(lb, "response")
    c = lb.dial(receive_buffer=4096).get("/large")
    with played.accept() as s:
        s.request()
        s.send("HTTP/1.1 200 OK\r\nContent-Length: 64000000\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # the balancer lets go of it
            for _ in range(64):
                s.send(b"x" * 1_000_000)
    logged = lb.logged("GET /large")
    assert (logged.status, logged.term[:2]) == (200, "cD")
    assert lb.complained("client takes the answer too slowly")
    assert cut_off(lb, "response") == before + 1
    with pytest.raises(BrokenOff) as end:
        c.rest()
    assert end.value.reset


def test_who_has_taken_all_there_was_is_not_slow(lb: Balancer, played: Origin) -> None:
    """A reader that is behind at first and catches up; then it is the server that takes its time."""
    before = cut_off(lb, "response")
    c = lb.dial(receive_buffer=4096).get("/stops")
    with played.accept() as s:
        s.request()
        s.send("HTTP/1.1 200 OK\r\nContent-Length: 8000003\r\n\r\n")
        s.sock.settimeout(30)
        head = c.head()
        assert head.status == 200
        left = 8_000_000
        while left:
            fill_some = min(left, 400_000)
            s.send(b"x" * fill_some)
            left -= fill_some
            c.exactly(fill_some)
        assert c.silent(2.4 * WINDOW)
        s.send(b"end")
        assert c.exactly(3) == b"end"
    assert cut_off(lb, "response") == before


def test_the_end_of_an_answer_is_watched_too(lb: Balancer) -> None:
    """Answers of many lengths around what kernel and balancer hold: of some the server is done before their clients
    have taken them. No client reads until all are logged; then each has the whole answer, or a reset and nothing that
    could pass for its end."""
    lb.dial("files", receive_buffer=4096).get("/64000000")
    held = lb.logged("GET /64000000").bytes
    sizes = [held + 50_000 * i for i in range(-12, 8)]
    before, lines = cut_off(lb, "response", "files"), lb.log_count()
    clients = [lb.dial("files", receive_buffer=4096).get(f"/{size}") for size in sizes]
    wait_until(lambda: lb.log_count() - lines >= len(sizes), 30, what="the end of all")
    assert cut_off(lb, "response", "files") > before
    whole = 0
    for c, size in zip(clients, sizes, strict=True):
        try:
            assert len(c.response().body) == size
            whole += 1
        except BrokenOff as end:
            assert end.reset
    assert whole < len(sizes)
