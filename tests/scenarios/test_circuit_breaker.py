"""Circuit breakers: docs/resilience.md, with real processes."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.test_tunnel import ASK, SWITCH
from tests.e2e.wire import PATIENCE, Origin
from tests.helpers import wait_until

ILL = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\nill"
# Half of at least 10 requests failed: nothing for half a second, then 3 requests decide.
BREAKER = {"errors": "50%", "min_requests": 10, "open": "500ms", "trials": 3}


class Patient:
    """A server that answers 500 while it is ill."""

    def __init__(self) -> None:
        self.ill = False
        self.server = Answering(lambda request: ILL if self.ill else b"well")

    @property
    def served(self) -> int:
        return self.server.served


@pytest.fixture
def patient() -> Iterator[Patient]:
    one = Patient()
    yield one
    one.server.stop()


def statuses(lb: Balancer, times: int) -> list[int]:
    return [lb.dial().get("/").response().status for _ in range(times)]


def test_an_ill_server_gets_nothing_until_a_few_requests_find_it_well(balancer: Balancers, patient: Patient) -> None:
    with Answering(lambda request: b"other") as other:
        backend = {"balance": "round_robin", "outlier": False, "circuit_breaker": {**BREAKER, "open": "2s"}}
        lb = balancer(patient.server.address, other.address, backend=backend)

        patient.ill = True
        assert statuses(lb, 20).count(500) == 10  # every second one, until the tenth opened the breaker
        wait_until(lambda: patient.served == 10, what="the last answer to be counted")
        assert statuses(lb, 10) == [200] * 10  # the other one serves alone
        assert patient.served == 10
        lb.complained(r"circuit breaker of server app/s0 is open for 2 s: 10 of 10 requests failed")

        patient.ill = False
        wait_until(lambda: statuses(lb, 1) == [200] and patient.served >= 13, what="three trials")
        lb.complained(r"circuit breaker of server app/s0 is closed")
        assert statuses(lb, 10) == [200] * 10
        assert patient.served >= 17  # it takes its turns again


def test_a_backend_that_fails_altogether_is_spared(balancer: Balancers, patient: Patient) -> None:
    """With the scope `backend` the answer comes at once, and says when to ask again."""
    backend = {"outlier": False, "circuit_breaker": {**BREAKER, "scope": "backend", "open": "10s"}}
    lb = balancer(patient.server.address, backend=backend, global_={"workers": 2})
    patient.ill = True
    assert statuses(lb, 10) == [500] * 10
    # The last answer is counted once it is out: one request more may get to the other worker before.
    answers = [lb.dial().get(f"/more{n}").response() for n in range(2)]
    assert [answer.status for answer in answers] in ([500, 503], [503, 503])
    assert 1 <= int(answers[1].get("retry-after") or 0) <= 10
    wait_until(lambda: patient.served == 10 + (answers[0].status == 500), what="the last answer to be counted")
    assert lb.logged("/more1").term == "PC--"
    lb.complained(r"circuit breaker of backend app is open")


def test_no_more_requests_at_a_time_than_allowed(balancer: Balancers) -> None:
    """`concurrency` holds over all workers: what is beyond is refused at once instead of waiting."""
    go = threading.Event()

    def slow(request: object) -> bytes:
        go.wait(30)
        return b"late"

    with Answering(slow) as server:
        backend = {"outlier": False, "circuit_breaker": {"concurrency": 5}}
        lb = balancer(server.address, backend=backend, global_={"workers": 2})
        waiting = [lb.dial().get("/") for _ in range(12)]
        refused = []
        wait_until(lambda: server.most == 5, what="five requests at the server")
        for _ in range(3):
            answer = lb.dial().get("/").response()
            refused.append(answer.status)
        go.set()
        answers = sorted(client.response().status for client in waiting)
        assert refused == [503] * 3
        assert answers == [200] * 5 + [503] * 7
        assert server.most == 5


def test_a_trial_that_becomes_a_websocket_has_gone_well(balancer: Balancers) -> None:
    """It may last for hours: the verdict does not wait for its end."""
    origin = Origin()
    breaker = {"errors": "50%", "min_requests": 1, "open": "200ms", "trials": 1, "trial_time": "10m"}
    lb = balancer(origin, backend={"outlier": False, "circuit_breaker": {**breaker, "scope": "backend"}})
    client = lb.dial().get("/")
    server, _ = origin.request()
    server.answer("ill", "Connection: close", status="500 Internal Server Error").close()
    assert client.response().status == 500
    lb.complained(r"circuit breaker of backend app is open")

    def let_in() -> bool:
        nonlocal client
        client = lb.dial().send(ASK)
        return origin.sock in select.select([client.sock, origin.sock], [], [], PATIENCE)[0]

    wait_until(let_in, what="the trial")
    trial, _ = origin.request()
    trial.send(SWITCH)
    assert client.head().status == 101
    lb.complained(r"circuit breaker of backend app is closed")
    client.send("ping")
    assert trial.exactly(4) == b"ping"
