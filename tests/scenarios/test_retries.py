"""Not losing a request: docs/retries.md, with real processes."""

from __future__ import annotations

import threading
import time

from tests.e2e.balancer import Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import Message, Origin
from tests.helpers import wait_until

FIRST = {"balance": "first", "outlier": False}


class Hanging:
    """A server that answers nothing until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.server = Answering(self._answer)

    def _answer(self, request: Message) -> bytes:
        self.arrived.release()
        self.go.wait(60)
        return b"late"

    def __enter__(self) -> Hanging:
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self.server.stop()


def test_a_server_that_hangs_costs_one_try(balancer: Balancers) -> None:
    """`try_timeout` gives up on one server long before `timeouts.server` gives up on the request."""
    with Hanging() as hanging, Answering(lambda request: b"fine") as other:
        lb = balancer(hanging.server.address, other.address, backend={**FIRST, "retry": {"try_timeout": "200ms"}})
        assert lb.dial().get("/slow").response().text == "fine"
        line = lb.logged("/slow")
        assert (line.server, line.status, line.retries) == ("s1", 200, "+1")


def test_the_copy_that_answers_first_wins(balancer: Balancers) -> None:
    """`hedge` does not give up on the first server: it asks a second one as well, and cancels who is late."""
    with Hanging() as hanging, Answering(lambda request: b"fine") as other:
        lb = balancer(hanging.server.address, other.address, backend={**FIRST, "retry": {"hedge": "100ms"}})
        assert lb.dial().get("/hedged").response().text == "fine"
        assert hanging.arrived.acquire(timeout=10)
        line = lb.logged("/hedged")
        assert (line.server, line.status) == ("s1", 200)
        # What must not be done twice is not asked for twice.
        client = lb.dial().post("/once", b"body")
        assert hanging.arrived.acquire(timeout=10)
        assert client.silent(0.5)
        hanging.go.set()
        assert client.response().text == "late"
        assert lb.logged("/once").server == "s0"


def test_the_first_copy_may_still_win(balancer: Balancers, origin: Origin) -> None:
    with Hanging() as hanging:
        lb = balancer(origin, hanging.server.address, backend={**FIRST, "retry": {"hedge": "50ms"}})
        client = lb.dial().get("/first")
        server, _ = origin.request()
        assert hanging.arrived.acquire(timeout=10)  # the copy is under way
        server.answer("after all")
        assert client.response().text == "after all"
        assert lb.logged("/first").server == "s0"


def test_a_copy_that_fails_leaves_the_other_alone(balancer: Balancers, origin: Origin) -> None:
    broken = Origin()
    lb = balancer(origin, broken, backend={**FIRST, "retries": 1, "retry": {"hedge": "50ms"}})
    client = lb.dial().get("/left")
    server, _ = origin.request()
    copy, _ = broken.request()
    copy.reset()
    server.answer("still here")
    assert client.response().text == "still here"
    assert lb.logged("/left").server == "s0"


def test_a_client_that_leaves_ends_both_copies(balancer: Balancers, origin: Origin) -> None:
    second = Origin()
    lb = balancer(origin, second, backend={**FIRST, "retry": {"hedge": "50ms"}})
    client = lb.dial().get("/gone")
    servers = [origin.request()[0], second.request()[0]]
    client.close()
    for server in servers:
        server.ended()
    assert lb.logged("/gone").term.startswith("C")


def test_further_attempts_wait_as_the_server_asks(balancer: Balancers) -> None:
    """Backoff with full jitter, and Retry-After where the answer has it; a longer one is passed on."""
    answers = iter([b"1", b"100"])

    def busy(request: Message) -> bytes:
        return b"HTTP/1.1 503 Busy\r\nRetry-After: " + next(answers) + b"\r\nContent-Length: 0\r\n\r\n"

    with Answering(busy) as first, Answering(lambda request: b"fine") as other:
        retry = {"on": [503], "backoff": "10ms", "backoff_max": "2s"}
        lb = balancer(first.address, other.address, backend={**FIRST, "retry": retry})
        began = time.monotonic()
        assert lb.dial().get("/asked").response().text == "fine"
        assert time.monotonic() - began >= 0.99
        answer = lb.dial().get("/too-long").response()
        assert (answer.status, answer.get("retry-after")) == (503, "100")


def test_a_body_that_came_in_pieces_goes_again(balancer: Balancers, origin: Origin) -> None:
    """`buffer` says how much of a request is kept to be sent again."""
    second = Origin()
    lb = balancer(origin, second, backend={**FIRST, "retry": {"buffer": "100KB"}})
    body = b"x" * 90_000
    client = lb.dial()
    client.send(f"PUT /again HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n", body[:1000])
    server = origin.accept()
    server.head()
    client.send(body[1000:50_000])
    server.exactly(50_000)
    client.send(body[50_000:])
    server.exactly(40_000)
    server.reset()
    server, request = second.request()
    assert request.body == body
    server.answer("fine")
    assert client.response().text == "fine"


def test_what_is_larger_than_the_buffer_does_not_go_again(balancer: Balancers, origin: Origin) -> None:
    second = Origin()
    lb = balancer(origin, second, backend={**FIRST, "retry": {"buffer": "1KB"}})
    client = lb.dial().send("PUT /once HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n", b"x" * 2000)
    server, _ = origin.request()
    server.reset()
    assert client.response().status == 502


def test_idle_connections_are_closed_before_the_server_would(balancer: Balancers, origin: Origin) -> None:
    """A server that names its time in Keep-Alive is taken at its word, long before `pool.idle` is over."""
    lb = balancer(origin, backend={"pool": {"idle": "1h"}})
    client = lb.dial().get("/")
    server, _ = origin.request()
    server.answer("fine", "Keep-Alive: timeout=1, max=100", "Connection: keep-alive")
    assert client.response().text == "fine"
    assert server.ended()


def test_a_status_that_is_tried_again_counts_against_its_server(balancer: Balancers) -> None:
    """500 is no failure by itself; where `retry.on` names it, a server that gives nothing else is left out."""
    with (
        Answering(lambda request: b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n") as broken,
        Answering(lambda request: b"fine") as other,
    ):
        lb = balancer(broken.address, other.address, backend={"balance": "first", "retry": {"on": [500]}})
        with lb.dial() as client:
            for _ in range(5):
                assert client.get("/").response().text == "fine"
            lb.complained(r"server app/s0 is EJECTED for 10 s: 5 requests failed in a row")
            served = broken.served
            assert client.get("/").response().text == "fine"
            assert broken.served == served


def test_too_many_requests_of_one_client_count_against_nobody(balancer: Balancers) -> None:
    with (
        Answering(lambda request: b"HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n\r\n") as busy,
        Answering(lambda request: b"fine") as other,
    ):
        rules = {"consecutive_failures": 1}
        lb = balancer(
            busy.address, other.address, backend={"balance": "first", "retry": {"on": [429]}, "outlier": rules}
        )
        with lb.dial() as client:
            assert client.get("/").response().text == "fine"
            # Whatever fails is seen within a second; this one is still asked first.
            wait_until(lambda: client.get("/").response().text == "fine" and busy.served >= 20)
        assert not any("EJECTED" in line for line in lb.program.lines)
