"""After what requests are tried again, and how many at a time, over all workers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.helpers import free_port, wait_until

from .balancer import Balancers
from .servers import Answering
from .wire import Message, Origin, Wire

FIRST = {"balance": "first", "outlier": False}
SORRY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nsorry"


class Slow:
    """A server that answers when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.arrived = 0
        self._lock = threading.Lock()
        self.server = Answering(self._answer)

    def _answer(self, request: Message) -> bytes:
        with self._lock:
            self.arrived += 1
        self.go.wait(60)
        return b"late"

    def __enter__(self) -> Slow:
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self.server.stop()


@pytest.fixture
def sorry() -> Iterator[Answering]:
    """A server that answers 503 to everything."""
    with Answering(lambda request: SORRY) as server:
        yield server


def retrying(*on: object, **more: object) -> dict[str, object]:
    return {**FIRST, "retry": {"on": list(on), **more}}


# --- after what


def test_a_status_that_is_tried_again(balancer: Balancers, origin: Origin, sorry: Answering) -> None:
    lb = balancer(sorry.address, origin, backend=retrying("502-504"))
    client = lb.dial().get("/again")
    server, request = origin.request()
    assert request.target == "/again"
    server.answer("fine")
    assert client.response().text == "fine"
    line = lb.logged("/again")
    assert (line.status, line.server, line.retries, line.term) == (200, "s1", "+1", "----")
    assert sorry.served == 1


def test_bodies_go_again(balancer: Balancers, origin: Origin, sorry: Answering) -> None:
    lb = balancer(sorry.address, origin, backend=retrying(503))
    client = lb.dial().send("PUT /again HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
    server, request = origin.request()
    assert (request.method, request.body) == ("PUT", b"body")
    server.answer("fine")
    assert client.response().text == "fine"


@pytest.mark.parametrize(
    ("backend", "send"),
    [
        (retrying("502", 504), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),  # another status
        (retrying("connect", "closed", "timeout"), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (FIRST, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),  # by default
        (retrying(503), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"),  # may not be done twice
        ({**retrying(503), "retries": 0}, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (retrying(503, budget=0, budget_min=0), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ],
)
def test_the_servers_own_answer_is_passed_on(
    balancer: Balancers, origin: Origin, sorry: Answering, backend: dict[str, object], send: str
) -> None:
    lb = balancer(sorry.address, origin, backend=backend)
    response = lb.dial().send(send).response()
    assert (response.status, response.text) == (503, "sorry")
    assert origin.untouched()


def test_the_last_answer_is_passed_on(balancer: Balancers, sorry: Answering) -> None:
    with Answering(lambda request: SORRY.replace(b"sorry", b"SORRY")) as other:
        lb = balancer(sorry.address, other.address, backend=retrying(503))
        client = lb.dial()
        response = client.get("/last").response()
        assert (response.status, response.text) == (503, "SORRY")
        assert client.get("/kept").response().status == 503  # the client's connection goes on
        assert lb.logged("/last").retries == "+1"


def test_a_timeout(balancer: Balancers, origin: Origin) -> None:
    with Slow() as slow:
        lb = balancer(slow.server.address, origin, backend=retrying("timeout"), timeouts={"server": "200ms"})
        client = lb.dial().get("/slow")
        server, _ = origin.request()
        server.answer("fine")
        assert client.response().text == "fine"
        assert lb.logged("/slow").retries == "+1"


def test_a_malformed_answer(balancer: Balancers, origin: Origin) -> None:
    with Answering(lambda request: b"HTTP/9.9 what\r\n\r\n") as garbage:
        lb = balancer(garbage.address, origin, backend=retrying("malformed"))
        client = lb.dial().get("/garbage")
        server, _ = origin.request()
        server.answer("fine")
        assert client.response().text == "fine"


def test_only_what_is_named(balancer: Balancers, origin: Origin) -> None:
    gone = Origin()
    gone.shut()
    lb = balancer(gone, origin, backend=retrying("closed"))
    assert lb.dial().get("/refused").response().status == 503
    assert origin.untouched()


def test_failures_count_against_the_server(balancer: Balancers, sorry: Answering) -> None:
    """What is tried again elsewhere is a failure all the same: ejection sees it."""
    with Answering() as well:
        lb = balancer(sorry.address, well.address, backend={"balance": "round_robin", "retry": {"on": [503]}})
        client = lb.dial()
        while "server app/s0 is EJECTED" not in lb.program.output:
            assert client.get("/").response().status == 200


# --- how many


def spend(lb, slow: Slow, clients: int, places: int) -> tuple[list[Wire], list[Wire]]:
    """(clients whose further attempt is held at `slow`, clients that got the first answer)."""
    wires = [lb.dial().get(f"/{n}") for n in range(clients)]
    answered: list[Wire] = []
    for wire in wires:
        # Nothing tells who is held but that the others are answered.
        wire.sock.settimeout(0.05)
    pending = list(wires)

    def settled() -> bool:
        for wire in list(pending):
            try:
                first = wire.sock.recv(1, socket_peek)
            except TimeoutError:
                continue
            assert first
            pending.remove(wire)
            answered.append(wire)
        return len(answered) == clients - places

    wait_until(settled, what=f"{clients - places} answers")
    assert slow.arrived == places
    for wire in wires:
        wire.sock.settimeout(30)
    return pending, answered


socket_peek = 2  # MSG_PEEK


@pytest.mark.parametrize("workers", [0, 4])
def test_no_more_than_the_budget_at_a_time(balancer: Balancers, sorry: Answering, workers: int) -> None:
    with Slow() as slow:
        backend = retrying(503, budget=0, budget_min=5)
        lb = balancer(sorry.address, slow.server.address, global_={"workers": workers}, backend=backend)
        held, answered = spend(lb, slow, 24, 5)
        assert [wire.response().text for wire in answered] == ["sorry"] * 19
        slow.go.set()
        assert [wire.response().text for wire in held] == ["late"] * 5
        # The places are free again.
        assert [lb.dial().get("/after").response().text for _ in range(10)] == ["late"] * 10


def test_the_budget_grows_with_what_is_in_flight(balancer: Balancers, sorry: Answering) -> None:
    with Slow() as busy, Slow() as slow:
        lb = balancer(
            busy.server.address, sorry.address, slow.server.address,
            backend={**retrying(503, budget=0.5, budget_min=0), "balance": "round_robin"},
        )  # fmt: skip
        for n in range(12):
            lb.dial().get(f"/{n}")
        # Two thirds are held at once; of the last third, those that the budget lets go are held as well.
        wait_until(lambda: sorry.served == 4 and busy.arrived + slow.arrived >= 8, what="the requests' arrival")
        wait_until(lambda: busy.arrived + slow.arrived >= 10, what="further attempts")


def test_places_of_a_killed_worker_come_back(balancer: Balancers, sorry: Answering) -> None:
    with Slow() as slow:
        backend = retrying(503, budget=0, budget_min=2)
        lb = balancer(sorry.address, slow.server.address, global_={"workers": 1}, backend=backend)
        spend(lb, slow, 6, 2)
        (worker,) = lb.engines()
        os.kill(worker, signal.SIGKILL)
        lb.program.wait_line(r"worker 0 .*", timeout=30)
        wait_until(lambda: lb.engines() not in ([worker], [lb.pid]), timeout=30, what="another worker")
        slow.go.set()

        def again() -> bool:
            try:
                return lb.dial().get("/after").response().text == "late"
            except OSError:
                return False  # it does not accept yet

        wait_until(again, timeout=30, what="a further attempt")
        assert [lb.dial().get("/after").response().text for _ in range(6)] == ["late"] * 6


def test_refused_connections_cost_no_place(balancer: Balancers) -> None:
    gone = Origin()
    gone.shut()
    with Slow() as slow:
        lb = balancer(gone, slow.server.address, backend=retrying("connect", budget=0, budget_min=0))
        wires = [lb.dial().get(f"/{n}") for n in range(8)]
        wait_until(lambda: slow.arrived == 8, what="all requests")
        slow.go.set()
        assert [wire.response().text for wire in wires] == ["late"] * 8


# --- what the second answer may look like


def test_interim_answers_of_the_second_try(balancer: Balancers, origin: Origin, sorry: Answering) -> None:
    lb = balancer(sorry.address, origin, backend=retrying(503))
    client = lb.dial().get("/hints")
    server, _ = origin.request()
    server.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n")
    server.answer("fine")
    assert [client.response().get("link") for _ in range(2)] == ["</a>", "</b>"]
    assert client.response().text == "fine"
    assert lb.logged("/hints").retries == "+1"


def test_a_client_that_awaits_100_is_asked_by_the_second_server(balancer: Balancers, origin: Origin) -> None:
    """Nobody listens at the first one."""
    lb = balancer(f"127.0.0.1:{free_port()}", origin, backend=FIRST)
    client = lb.dial().send("PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    server = origin.accept()
    assert server.head().get("expect") == "100-continue"
    server.send("HTTP/1.1 100 Continue\r\n\r\n")
    assert client.response().status == 100
    client.send("body")
    assert server.exactly(4) == b"body"
    server.answer("taken")
    assert client.response().text == "taken"
    assert lb.logged("/x").retries == "+1"


def test_a_refusal_before_the_body_is_passed_on(balancer: Balancers, origin: Origin) -> None:
    """What was not kept whole is not sent again: the body is still with the client, which awaits 100."""
    other = Origin()
    lb = balancer(origin, other, backend=retrying(503))
    client = lb.dial().send("PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    server = origin.accept()
    server.head()
    server.answer("busy", status="503 Service Unavailable")
    response = client.response()
    assert (response.status, response.text, response.get("connection")) == (503, "busy", "close")
    assert other.untouched()


def test_a_head_that_is_too_large_on_the_second_try(balancer: Balancers, origin: Origin, sorry: Answering) -> None:
    lb = balancer(sorry.address, origin, backend=retrying(503))
    client = lb.dial().get("/huge")
    server, _ = origin.request()
    server.send(b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 100_000 + b"\r\n\r\n")
    assert client.response().status == 502
    assert lb.logged("/huge").term == "PH--"
    client = lb.dial().get("/next")
    server, _ = origin.request()
    server.answer("fine")
    assert client.response().text == "fine"
