"""Connections that serve more than one request: the client's, and the pool of idle ones to a server."""

from __future__ import annotations

import contextlib

import pytest

from .balancer import MEMORY_COUNTS, Balancers
from .servers import Answering, still
from .wire import Origin


def test_both_sides_are_kept(balancer: Balancers, origin: Origin) -> None:
    client = balancer(origin).dial()
    server = None
    for i in range(5):
        client.get(f"/{i}")
        server = server or origin.accept()
        assert server.request().target == f"/{i}"
        server.answer(str(i))
        assert client.response().text == str(i)
    assert origin.untouched()


def test_a_client_that_wants_to_close_does_not_cost_the_server_connection(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin)
    client = lb.dial().get("/1", "Connection: close")
    server, request = origin.request()
    assert request.get("connection") != "close"
    server.answer("one")
    response = client.response()
    assert response.get("connection") == "close"
    assert client.ended() == "fin"
    client = lb.dial().get("/2")
    assert server.request().target == "/2"
    server.answer("two")
    assert client.response().text == "two"


def test_a_server_that_closes_does_not_cost_the_client_connection(balancer: Balancers, origin: Origin) -> None:
    client = balancer(origin).dial()
    for i in range(3):
        client.get(f"/{i}")
        server, _ = origin.request()
        server.answer("x", "Connection: close")
        assert client.response().get("connection") != "close"
        assert server.ended() in ("fin", "reset")


def test_the_connection_used_last_is_used_next(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin)
    clients = [lb.dial().get(f"/{i}") for i in range(3)]
    servers = {}
    for _ in clients:
        server, request = origin.request()
        servers[request.target] = server
    for i in (1, 2, 0):  # the order in which they become idle
        servers[f"/{i}"].answer("x")
        clients[i].response()
    for i in (0, 2, 1):  # used in the opposite order, as none comes back in between
        clients[i].get("/again")
        assert servers[f"/{i}"].request().target == "/again"
    assert origin.untouched()


def test_pool_size_closes_the_oldest(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, backend={"pool": {"size": 1}})
    first, second = lb.dial().get("/1"), lb.dial().get("/2")
    servers = {r.target: s for s, r in (origin.request(), origin.request())}
    servers["/1"].answer("x")
    first.response()
    servers["/2"].answer("x")
    second.response()
    assert servers["/1"].ended() == "fin"
    first.get("/3")
    assert servers["/2"].request().target == "/3"


def test_pools_give_way_to_connections_that_are_asked_for(balancer: Balancers) -> None:
    """Descriptors are promised for so many clients and a server connection each, whichever server they go to."""
    origins = [Origin() for _ in range(3)]
    lb = balancer(*origins, backend={"balance": "round_robin"}, global_={"workers": 0, "max_connections": 2})
    client = lb.dial()
    wires = []
    for origin, target in zip(origins, ("/1", "/2", "/3"), strict=True):
        client.get(target)
        wires.append(origin.accept())
        assert wires[-1].request().target == target
        wires[-1].answer("x")
        assert client.response().status == 200
    assert wires[0].ended() == "fin"  # the one unused for longest, and of another server
    client.get("/4")
    assert origins[0].accept().request().target == "/4"
    assert wires[1].ended() == "fin"


def test_without_pool_every_request_connects(balancer: Balancers, origin: Origin) -> None:
    client = balancer(origin, backend={"pool": {"size": 0}}).dial()
    for _ in range(3):
        client.get("/")
        server, _ = origin.request()
        server.answer("x")
        client.response()
        assert server.ended() == "fin"


def test_idle_connections_are_closed_in_time(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, backend={"pool": {"idle": "150ms"}})
    client = lb.dial().get("/")
    server, _ = origin.request()
    server.answer("x")
    client.response()
    assert server.silent(0.05)
    assert server.ended() == "fin"
    client.get("/again")  # the client's connection lives on
    server, _ = origin.request()
    server.answer("y")
    assert client.response().text == "y"


def test_max_age_ends_a_connection_after_its_request(balancer: Balancers, origin: Origin) -> None:
    client = balancer(origin, backend={"pool": {"max_age": "200ms"}}).dial().get("/1")
    server, _ = origin.request()
    server.answer("x")
    client.response()
    client.get("/2")
    assert server.request().target == "/2"  # young enough
    server.silent(0.25)
    server.answer("y")
    assert client.response().text == "y"
    assert server.ended() == "fin"


def test_max_requests_ends_a_connection(balancer: Balancers, origin: Origin) -> None:
    client = balancer(origin, backend={"pool": {"max_requests": 2}}).dial()
    for _ in range(2):
        server = None
        for _ in range(2):
            client.get("/")
            server = server or origin.accept()
            server.request()
            server.answer("x")
            client.response()
        assert server is not None
        assert server.ended() == "fin"


def test_pipelined_requests_are_answered_in_order(balancer: Balancers, origin: Origin) -> None:
    client = balancer(origin).dial()
    request = "GET /{} HTTP/1.1\r\nHost: x\r\n\r\n"
    client.send(*(request.format(i) for i in range(20)))
    server = origin.accept()
    for i in range(20):
        assert server.request().target == f"/{i}"
        assert not server.held, "a request before the one before it was answered"
        server.answer(f"{i}")
    assert [client.response().text for _ in range(20)] == [str(i) for i in range(20)]
    assert origin.untouched()


def test_pipelined_bodies_stay_with_their_requests(balancer: Balancers, origin: Origin) -> None:
    client = balancer(origin).dial()
    client.send(
        "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst",
        "POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsec\r\n3\r\nond\r\n0\r\n\r\n",
        "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    server = origin.accept()
    for target, body in (("/1", b"first"), ("/2", b"second"), ("/3", b"")):
        request = server.request()
        assert (request.target, request.body) == (target, body)
        assert not server.held
        server.answer(target)
    assert [client.response().text for _ in range(3)] == ["/1", "/2", "/3"]


def test_pipelined_requests_in_any_pieces(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin)
    raw = b"".join(
        b"POST /%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-T: 1\r\n\r\n"
        b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % (i, i + 1)
        for i in range(0, 6, 2)
    )
    server = None
    for size in (1, 2, 3, 7, 50, 111):
        client = lb.dial()
        for at in range(0, len(raw), size):
            client.send(raw[at : at + size])
        for i in range(6):
            server = server or origin.accept()
            request = server.request()
            assert (request.target, request.body) == (f"/{i}", b"" if i % 2 else b"body")
            server.answer(str(i))
        assert [client.response().text for _ in range(6)] == list("012345")
        client.close()


def test_requests_after_a_wish_to_close_are_not_served(balancer: Balancers, origin: Origin) -> None:
    client = (
        balancer(origin)
        .dial()
        .send("GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    )
    server, request = origin.request()
    assert request.target == "/1"
    server.answer("one")
    assert client.response().text == "one"
    client.finish()
    assert client.ended() == "fin"
    assert server.silent(0.05)
    assert origin.untouched()


def test_pipelined_requests_after_an_error_page(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, frontend={"backend": "", "routes": [{"path": "/app/*", "backend": "app"}]})
    client = lb.dial().get("/nowhere").get("/app/x").get("/nowhere")
    server, request = origin.request()
    assert request.target == "/app/x"
    server.answer("app")
    assert [client.response().status for _ in range(3)] == [404, 200, 404]


@pytest.mark.parametrize("size", [20_000, 200_000])
def test_pipelining_without_reading_costs_no_memory(balancer: Balancers, size: int) -> None:
    """A client that asks and never reads must not make the balancer collect answers."""
    n = 60_000_000 // size
    with Answering(lambda request: b"x" * size) as server:
        lb = balancer(server.address)
        client = lb.dial(receive_buffer=4096).get("/")
        client.response()
        before = lb.memory()
        client.send(*(f"GET /{i} HTTP/1.1\r\nHost: x\r\n\r\n" for i in range(n)))
        served = still(lambda: server.served)
        assert served < n
        grown = lb.memory() - before
        assert grown < 6_000_000, f"{served} unread answers, memory grew by {grown:,} bytes"
        for _ in range(n):  # and all of them come once they are read
            assert len(client.response().body) == size


def test_requests_sent_faster_than_answered_cost_no_memory(balancer: Balancers) -> None:
    """What the balancer answers itself must not let a client that reads its answers fill memory with requests."""
    lb = balancer(frontend={"routes": [{"path": "/", "respond": {"status": 204}}]}, log={"access": "off"})
    client = lb.dial().get("/")
    client.response()
    before = lb.memory()
    highest = 0
    many = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 40_000
    client.sock.setblocking(False)
    rest = memoryview(b"")
    for _ in range(2000):
        rest = rest or memoryview(many)
        with contextlib.suppress(BlockingIOError):
            rest = rest[client.sock.send(rest) :]
        with contextlib.suppress(BlockingIOError):
            while client.sock.recv(1_000_000):
                pass
        highest = max(highest, lb.memory() - before)
    assert highest < 6_000_000 or not MEMORY_COUNTS, f"memory grew by {highest:,} bytes"


def test_idle_client_connections_close_without_a_word(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, timeouts={"idle": "150ms", "header": "2s"})
    client = lb.dial().get("/")
    server, _ = origin.request()
    server.answer("x")
    client.response()
    assert client.ended() == "fin"


def test_connections_without_a_request_close_without_a_word(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, timeouts={"idle": "2s", "header": "150ms"})
    assert lb.dial().ended() == "fin"


def test_a_stale_connection_is_noticed_while_idle(balancer: Balancers, origin: Origin) -> None:
    client = balancer(origin).dial().get("/1")
    server, _ = origin.request()
    server.answer("x")
    client.response()
    server.close()
    client.get("/2")
    server, request = origin.request()
    assert request.target == "/2"
    server.answer("y")
    assert client.response().text == "y"


def test_bytes_on_an_idle_connection_reach_nobody(balancer: Balancers, origin: Origin) -> None:
    client = balancer(origin).dial().get("/1")
    server, _ = origin.request()
    server.answer("x")
    client.response()
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    assert server.ended() in ("fin", "reset")
    client.get("/2")
    server, _ = origin.request()
    server.answer("y")
    assert client.response().text == "y"
