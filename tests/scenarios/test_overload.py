"""More requests than servers can take: docs/resilience.md, with real processes."""

from __future__ import annotations

import http.client
import json
import threading
import time

from tests.e2e.balancer import Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import Message
from tests.helpers import free_port, wait_until

from .gate import Gate

CLASSES = {
    "routes": [
        {"path": "/high/*", "priority": "high", "backend": "app"},
        {"path": "/low/*", "priority": "low", "backend": "app"},
    ]
}


def test_classes_wait_in_lines_of_their_own(balancer: Balancers) -> None:
    """Who goes first is the route's `priority`; within a class it is who came first."""
    turns, came = threading.Semaphore(0), list[str]()

    def answer(request: Message) -> bytes:
        came.append(request.target)
        turns.acquire(timeout=60)
        return b"done"

    with Answering(answer) as server:
        lb = balancer(server.address, frontend=CLASSES, backend={"max_connections": 1})
        clients = [lb.dial().get("/running")]
        wait_until(lambda: came == ["/running"], what="the first request")
        for target in ("/low/1", "/normal/1", "/high/1", "/low/2", "/normal/2", "/high/2"):
            clients.append(lb.dial().get(target))
            assert clients[-1].silent(0.1)
        turns.release(7)
        assert [client.response().status for client in clients] == [200] * 7
    assert came[1:] == ["/high/1", "/high/2", "/normal/1", "/normal/2", "/low/1", "/low/2"]


def test_a_full_queue_has_room_for_who_goes_first(balancer: Balancers, gate: Gate) -> None:
    lb = balancer(gate.server.address, frontend=CLASSES, backend={"max_connections": 1, "max_queue": 1})
    running = lb.dial().get("/running")
    wait_until(lambda: gate.came == ["/running"], what="the first request")
    low = lb.dial().get("/low/1")
    assert low.silent(0.2)
    high = lb.dial().get("/high/1")
    assert low.response().status == 503  # it made room
    assert lb.dial().get("/low/2").response().status == 503
    gate.go.set()
    assert [running.response().status, high.response().status] == [200, 200]


def test_the_queue_limit_holds_over_four_workers(balancer: Balancers, gate: Gate) -> None:
    """`max_queue` counts all workers: exactly so many wait, whichever of them they reached."""
    backend = {"max_connections": 2, "max_queue": 7}
    lb = balancer(gate.server.address, backend=backend, global_={"workers": 4}, timeouts={"queue": "60s"})
    clients = [lb.dial().get(f"/{i}") for i in range(40)]
    wait_until(lambda: lb.log_count() == 31, what="the refused ones")
    gate.go.set()
    statuses = sorted(client.response().status for client in clients)
    assert statuses == [200] * 9 + [503] * 31


def test_workers_share_a_server_fairly(balancer: Balancers) -> None:
    """A server that becomes free goes to who has waited longest, nearly, whichever worker has them."""
    with Answering() as server:
        lb = balancer(server.address, backend={"max_connections": 1}, global_={"workers": 2})
        clients = [lb.dial().get(f"/{i}") for i in range(200)]
        assert [client.response().status for client in clients] == [200] * 200


def test_what_is_too_much_gets_a_page(balancer: Balancers, gate: Gate) -> None:
    page = {"status": 503, "body": "<h1>Back soon</h1>", "content_type": "text/html"}
    backend = {"circuit_breaker": {"concurrency": 1}, "overload": {"respond": page}}
    lb = balancer(gate.server.address, backend=backend)
    client = lb.dial().get("/running")
    wait_until(lambda: gate.came == ["/running"], what="the first request")
    answer = lb.dial().get("/").response()
    assert (answer.status, answer.text, answer.get("content-type")) == (503, "<h1>Back soon</h1>", "text/html")
    gate.go.set()
    assert client.response().status == 200


def test_what_is_too_much_goes_to_another_backend(balancer: Balancers, gate: Gate) -> None:
    with Answering(lambda request: b"from the cache") as cache:
        backend = {"circuit_breaker": {"concurrency": 1}, "overload": {"backend": "cache"}}
        lb = balancer(gate.server.address, backend=backend, backends={"cache": {"servers": [cache.address]}})
        client = lb.dial().get("/running")
        wait_until(lambda: gate.came == ["/running"], what="the first request")
        assert lb.dial().get("/other").response().text == "from the cache"
        assert lb.logged("/other").backend == "cache"
        gate.go.set()
        assert client.response().status == 200


def test_the_lowest_class_is_turned_away_first(balancer: Balancers, gate: Gate) -> None:
    """At three quarters of the limit."""
    lb = balancer(gate.server.address, frontend=CLASSES, backend={"circuit_breaker": {"concurrency": 8}})
    clients = [lb.dial().get(f"/{i}") for i in range(6)]
    wait_until(lambda: len(gate.came) == 6, what="six requests")
    assert lb.dial().get("/low/1").response().status == 503
    clients += [lb.dial().get("/high/1"), lb.dial().get("/normal")]
    wait_until(lambda: len(gate.came) == 8, what="two more")
    assert lb.dial().get("/high/2").response().status == 503
    gate.go.set()
    assert [client.response().status for client in clients] == [200] * 8


def test_the_adaptive_limit_refuses_what_is_beyond_it(balancer: Balancers, gate: Gate) -> None:
    """It holds over all workers; how it moves is in the docs."""
    backend = {"adaptive_concurrency": {"initial": 4, "min": 4, "max": 4}}
    lb = balancer(gate.server.address, backend=backend, global_={"workers": 2})
    clients = [lb.dial().get(f"/{i}") for i in range(10)]
    wait_until(lambda: lb.log_count() == 6, what="six refusals")
    gate.go.set()
    assert sorted(client.response().status for client in clients) == [200] * 4 + [503] * 6


class Line:
    """What the admin interface says of the queue."""

    def __init__(self) -> None:
        self.port = free_port()
        self.admin = {"listen": f"127.0.0.1:{self.port}"}

    def length(self) -> int:
        api = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            api.request("GET", "/v1/backends/app")
            return int(json.load(api.getresponse())["queued"])
        finally:
            api.close()


def test_whoever_waited_longest_is_served_first_over_all_workers(balancer: Balancers, gate: Gate) -> None:
    """Twelve wait at two workers for one place, and twelve more some time later: none of these is served before the
    last of the first ones, whichever worker has it. To 64 ms, that is: workers look at each other's lines so often."""
    line = Line()
    lb = balancer(
        gate.server.address,
        backend={"max_connections": 1},
        global_={"workers": 2},
        timeouts={"queue": "10m"},
        admin=line.admin,
    )
    clients = [lb.dial().get("/running")]
    wait_until(lambda: gate.came == ["/running"], what="the first request")
    clients += [lb.dial().get(f"/early/{n}") for n in range(12)]
    wait_until(lambda: line.length() == 12, what="the early ones to be in line")
    time.sleep(0.3)  # their age is what it is about
    clients += [lb.dial().get(f"/late/{n}") for n in range(12)]
    wait_until(lambda: line.length() == 24, what="the late ones to be in line")
    gate.go.set()
    assert [client.response().status for client in clients] == [200] * 25
    assert sorted(gate.came[1:13]) == sorted(f"/early/{n}" for n in range(12))
    assert sorted(gate.came[13:]) == sorted(f"/late/{n}" for n in range(12))


def test_who_leaves_the_queue_makes_room_at_once(balancer: Balancers, gate: Gate) -> None:
    """Over all workers: the places of clients that left are neither served nor counted."""
    line = Line()
    backend = {"max_connections": 1, "max_queue": 6}
    lb = balancer(
        gate.server.address, backend=backend, global_={"workers": 2}, timeouts={"queue": "10m"}, admin=line.admin
    )
    running = lb.dial().get("/running")
    wait_until(lambda: gate.came == ["/running"], what="the first request")
    leaving = [lb.dial().get(f"/leaving/{n}") for n in range(7)]
    wait_until(lambda: lb.log_count() == 1, what="the one too many to be refused")
    assert line.length() == 6
    for client in leaving:
        client.close()
    wait_until(lambda: line.length() == 0, what="an empty queue")
    staying = [lb.dial().get(f"/staying/{n}") for n in range(6)]
    wait_until(lambda: line.length() == 6, what="a full queue")
    gate.go.set()
    assert [client.response().status for client in (running, *staying)] == [200] * 7
    assert sorted(gate.came[1:]) == [f"/staying/{n}" for n in range(6)]
