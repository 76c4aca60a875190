"""mode = "tcp": what is said first and last comes through whole, however it falls into reads and segments."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

from .balancer import Balancer, Balancers
from .test_tcp import line, tcp
from .wire import Origin, Wire

READ = 262_144  # the balancer's, of one call
WORDS = random.Random(5).randbytes(3 * READ)


@pytest.fixture(scope="module")
def shared(shared_balancer: Balancers, server: Origin) -> Balancer:
    return tcp(shared_balancer, server)


@pytest.fixture
def ends(shared: Balancer, server: Origin) -> Iterator[tuple[Wire, Wire]]:
    """Both ends of a session in which nobody has spoken yet."""
    server.forget()
    client = shared.dial()
    yield client, server.accept()
    client.close()


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 8192, 100_000])
def test_first_words(shared: Balancer, server: Origin, size: int) -> None:
    """They are there before there is a server, which may be told in one piece or several."""
    server.forget()
    client = shared.dial().send(WORDS[:size]).finish()
    wire = server.accept()
    assert wire.rest() == WORDS[:size]
    wire.send("heard").close()
    assert client.rest() == b"heard"


@pytest.mark.parametrize("size", [0, 1, READ - 1, READ, READ + 1, 2 * READ, 2 * READ + 7])
def test_answer_that_ends_at_once(ends: tuple[Wire, Wire], size: int) -> None:
    client, wire = ends
    client.send("?")
    assert wire.exactly(1) == b"?"
    wire.send(WORDS[:size]).finish()
    assert client.rest() == WORDS[:size]
    client.send("understood").finish()  # the other direction goes on
    assert wire.rest() == b"understood"


def test_answer_behind_which_the_client_had_ended(balancer: Balancers, origin: Origin) -> None:
    lb = tcp(balancer, origin)
    client = lb.dial().send("?").finish()
    wire = origin.accept()
    assert wire.rest() == b"?"
    wire.send(WORDS[:9000]).close()
    assert client.rest() == WORDS[:9000]
    got = line(lb)
    assert (got["term"], got["bytes"]) == ("--", "9000")


def test_words_behind_an_urgent_byte(ends: tuple[Wire, Wire]) -> None:
    """Reading stops before it, and is not over there. The byte itself does not travel in the stream."""
    client, wire = ends
    client.send("?")
    assert wire.exactly(1) == b"?"
    wire.send("before")
    wire.sock.send(b"!", socket.MSG_OOB)
    wire.send("behind").finish()
    assert client.rest() == b"beforebehind"


def test_first_words_wait_for_a_server(balancer: Balancers, origin: Origin) -> None:
    """Of a session in the queue they are read only for the server that it gets, and go there once."""
    lb = tcp(balancer, origin, backend={"max_connections": 1}, timeouts={"queue": "10s"})
    one = lb.dial().send("1")
    first = origin.accept()
    assert first.exactly(1) == b"1"
    two = lb.dial().send(WORDS[:5000])
    one.close()
    assert first.rest() == b""
    first.close()
    wire = origin.accept()
    assert wire.exactly(5000) == WORDS[:5000]
    wire.send("all").close()
    assert two.rest() == b"all"
