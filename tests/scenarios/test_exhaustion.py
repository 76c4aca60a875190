"""Overload: docs/overload.md, with resources that really run out."""

from __future__ import annotations

import re
import resource
import signal
from pathlib import Path

import pytest

from tests.admin.conftest import Api
from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import BrokenOff, Wire
from tests.helpers import free_port, wait_until

from .gate import Gate


def stepped(lb: Balancer, step: int) -> str:
    return lb.complained(rf"overload: step {step} of 4")


def status(wire: Wire) -> int:
    """Of the answer to a request; 0 where the connection was ended as idle."""
    try:
        return wire.get("/").response().status
    except (BrokenOff, OSError):
        return 0


def test_answers_close_their_connections(balancer: Balancers, tmp_path: Path) -> None:
    """The first step, here of a worker whose memory sinks below what it has; and back."""
    routes = [{"path": "/*", "respond": {"status": 204}}]
    lb = balancer(frontend={"routes": routes}, global_={"workers": 0})
    (file,) = tmp_path.glob("*.toml")
    configuration = file.read_text()
    file.write_text(f'{configuration}\n[overload]\nmemory = "1MB"\nshed = 0\nrefuse = 0\nreset = 0\n')
    lb.program.send(signal.SIGHUP)
    assert "memory at" in stepped(lb, 1)
    with lb.dial() as c:
        assert c.get("/").response().get("connection") == "close"
    file.write_text(configuration)
    lb.program.send(signal.SIGHUP)
    lb.complained("overload is over")
    with lb.dial() as c:
        assert [c.get("/").response().get("connection") for _ in range(2)] == [None, None]


def test_who_is_busy_is_not_sent_away_for_want_of_connections(balancer: Balancers) -> None:
    """Nine of ten connections are in use, and go on to be."""
    with Answering() as server:
        lb = balancer(server.address, global_={"workers": 0, "max_connections": 10}, timeouts={"idle": "100s"})
        busy = [lb.dial() for _ in range(9)]
        for _ in range(2):
            for one in busy:
                answer = one.get("/").response()
                assert (answer.status, answer.get("connection")) == (200, None)
            assert "connections at 90 %" in stepped(lb, 2)


def test_idle_connections_make_room(balancer: Balancers) -> None:
    """All but two of the connections that the limit of descriptors allows do nothing: some are ended early."""
    with Answering() as server:
        lb = balancer(server.address, limit=200, timeouts={"header": "3s"})
        match = re.search(r"connections +(\d+) at a time", lb.program.output)
        assert match
        idle = [lb.dial() for _ in range(int(match[1]) - 2)]
        stepped(lb, 2)
        lb.complained("overload is over")
        assert any(not one.silent(0.001) for one in idle)
        with lb.dial() as c:
            assert c.get("/").response().status == 200


def test_without_descriptors_nothing_crashes(balancer: Balancers) -> None:
    """The limit sinks below what is promised, so that accepting and connecting fail for want of descriptors."""
    with Answering() as server:
        lb = balancer(server.address, limit=400)
        hard = resource.prlimit(lb.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(lb.pid, resource.RLIMIT_NOFILE, (lb.descriptors() + 15, hard))
        clients = [lb.dial() for _ in range(40)]
        assert "descriptors at" in stepped(lb, 3)
        assert {status(c) for c in clients} <= {0, 200, 503}
        for c in clients:
            c.close()
        wait_until(lambda: status(lb.dial()) == 200, 30, what="service as before")
        lb.complained("overload is over")


def test_who_holds_most_memory_is_reset(balancer: Balancers, gate: Gate, tmp_path: Path) -> None:
    """The limit of memory sinks below what is there: requests that are kept to be sent again are reset, a small one
    gets its answer; and when memory is there again all goes on as before."""
    admin = free_port()
    lb = balancer(
        gate.server.address,
        backend={"retry": {"buffer": "1MB"}},
        admin={"listen": f"127.0.0.1:{admin}"},
    )
    (file,) = tmp_path.glob("*.toml")
    configuration = file.read_text()
    api = Api(("127.0.0.1", admin))
    small = lb.dial().get("/small")
    head = "PUT /large/{} HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
    large = [lb.dial().send(head.format(i), b"x" * 300_000) for i in range(10)]
    wait_until(lambda: len(gate.came) == 11, what="all requests at the server")

    file.write_text(f'{configuration}\n[overload]\nmemory = "1MB"\n')
    lb.program.send(signal.SIGHUP)
    assert "memory at" in stepped(lb, 4)
    assert "8 connections reset for their memory" in lb.complained("connections reset for their memory")
    for i, wire in enumerate(large):
        assert lb.logged(f"PUT /large/{i} ").term[:2] == "RD"
        with pytest.raises(BrokenOff) as end:
            wire.response()
        assert end.value.reset
    gate.go.set()
    answer = small.response()
    assert (answer.status, answer.get("connection")) == (200, "close")
    metrics = api.text("/metrics")
    assert 'fastlb_worker_overload_step{worker="0"} 4' in metrics
    assert 'fastlb_worker_overload_reset_total{worker="0"} 10' in metrics
    wait_until(lambda: "step 4 of 4" in api.text("/v1/events"), what="the event")

    file.write_text(configuration)
    lb.program.send(signal.SIGHUP)
    lb.complained("overload is over")
    with lb.dial() as c:
        assert c.get("/after").response().text == "done"
