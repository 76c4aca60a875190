"""Limits: docs/limits.md, with real processes."""

from __future__ import annotations

import os
import signal

from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import BrokenOff, Wire
from tests.helpers import wait_until

from .gate import Gate


def closed(wire: Wire) -> bool:
    """Whether the connection ends without an answer to a request."""
    try:
        wire.get("/").response()
        return False
    except (BrokenOff, OSError):
        return True


def test_clients_are_told_what_is_left(balancer: Balancers) -> None:
    """On answers of servers, on those of the balancer itself, and with what is refused."""
    with Answering() as server:
        lb = balancer(server.address, frontend={
            "rate_limits": [{"rate": "3/h", "burst": 2, "name": "few"}, {"concurrent": 5, "key": ["ip", "route"]}],
            "routes": [{"path": "/own", "respond": {"body": "here"}}],
        })  # fmt: skip
        with lb.dial() as c:
            answers = [c.get(path).response() for path in ("/", "/own", "/", "/over")]
    assert [a.status for a in answers] == [200, 200, 200, 429]
    assert [a.get("ratelimit") for a in answers[:3]] == ['"few";r=2;t=1200', '"few";r=1;t=2400', '"few";r=0;t=3600']
    policy = '"few";q=3;w=3600, "1";q=5;qu="concurrent-requests"'
    assert {a.get("ratelimit-policy") for a in answers} == {policy}
    refused = answers[3]
    assert (refused.get("ratelimit") or "").startswith('"few";r=0;t=')
    assert 1190 <= int(refused.get("retry-after") or 0) <= 1200


def test_clients_are_told_in_the_older_form_or_not_at_all(balancer: Balancers) -> None:
    routes = [{"path": "/*", "respond": {"status": 204}}]
    common = {"rate_limits": [{"rate": "1/h", "burst": 4}], "routes": routes}
    lb = balancer(frontend={**common, "rate_limit_headers": "separate"},
                  frontends={"quiet": {**common, "rate_limit_headers": "none"}})  # fmt: skip
    with lb.dial() as c:
        answer = c.get("/").response()
        told = [answer.get(f"ratelimit-{name}") for name in ("limit", "remaining", "reset")]
    assert (told, answer.get("ratelimit")) == (["5", "4", "3600"], None)
    with lb.dial("quiet") as c:
        assert not [name for name, _ in c.get("/").response().fields if name.startswith("ratelimit")]


def test_new_connections_are_limited(balancer: Balancers) -> None:
    """What is over is closed before anything is read, over all workers."""
    lb = balancer(
        frontend={
            "rate_limits": [{"rate": "1/d", "burst": 9, "of": "connections"}],
            "routes": [{"path": "/*", "respond": {"status": 204}}],
        },
        global_={"workers": 4},
    )
    clients = [lb.dial() for _ in range(25)]
    over = [closed(c) for c in clients]
    assert (over.count(False), over.count(True)) == (10, 15)
    assert lb.complained("rate limit of connections")


def test_bytes_are_charged_when_they_are_known(balancer: Balancers) -> None:
    with Answering(lambda request: b"x" * 100_000) as server:
        lb = balancer(server.address, frontend={"rate_limits": [{"rate": "1KB/h", "burst": "150KB"}]})
        with lb.dial() as c:
            assert [c.get("/").response().status for _ in range(2)] == [200, 200]
            refused = c.get("/over").response()
    assert refused.status == 429
    assert int(refused.get("retry-after") or 0) > 3600  # tens of kilobytes too much, at one an hour


def test_a_dry_run_refuses_nothing_and_says_so(balancer: Balancers) -> None:
    lb = balancer(frontend={
        "rate_limits": [{"rate": "1/h", "dry_run": True}, {"rate": "1/h", "of": "connections", "dry_run": True}],
        "routes": [{"path": "/*", "respond": {"status": 204}}],
    })  # fmt: skip
    for _ in range(2):
        with lb.dial() as c:
            answer = c.get("/").response()
            assert (answer.status, answer.get("ratelimit-policy")) == (204, None)
    assert "status=204" in lb.complained(r"rate limit \(dry run\)")
    assert lb.complained(r"rate limit of connections \(dry run\)")


def statuses(clients: list[Wire]) -> list[int]:
    return sorted(client.response().status for client in clients)


def test_requests_at_once_hold_exactly_over_four_workers(balancer: Balancers, gate: Gate) -> None:
    """And what ends gives its place back, a client that leaves too."""
    limits = [{"concurrent": 7, "key": "header:X-User"}]
    lb = balancer(gate.server.address, frontend={"rate_limits": limits}, global_={"workers": 4})
    clients = [lb.dial().get(f"/{i}", "X-User: a") for i in range(40)]
    wait_until(lambda: lb.log_count() == 33, what="the refused ones")
    wait_until(lambda: len(gate.came) == 7, what="those let in")
    others = [lb.dial().get("/b", "X-User: b") for _ in range(7)]
    wait_until(lambda: len(gate.came) == 14, what="another user's")
    for one in others:
        one.close()
    wait_until(lambda: lb.log_count() == 40, what="their end")
    others = [lb.dial().get("/b", "X-User: b") for _ in range(7)]
    wait_until(lambda: len(gate.came) == 21, what="another user's again")
    gate.go.set()
    assert statuses(clients) == [200] * 7 + [429] * 33
    assert statuses(others) == [200] * 7


def test_a_worker_that_dies_gives_back_what_it_held(balancer: Balancers, gate: Gate) -> None:
    lb = balancer(
        gate.server.address,
        frontend={"rate_limits": [{"concurrent": 6, "key": []}], "max_connections": 6},
        global_={"workers": 2},
    )
    held = [lb.dial().get(f"/held/{i}") for i in range(6)]
    wait_until(lambda: len(gate.came) == 6, what="six requests")
    before = lb.engines()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(lb.engines()) == 2 and not set(lb.engines()) & set(before), 30, what="other workers")
    for one in held:
        one.close()
    again = [lb.dial().get(f"/again/{i}") for i in range(6)]
    wait_until(lambda: len(gate.came) == 12, 30, what="six more")
    gate.go.set()
    assert statuses(again) == [200] * 6


def accepted(lb: Balancer, count: int) -> list[Wire]:
    return [lb.dial().get(f"/{i}") for i in range(count)]


def test_connections_of_a_frontend_hold_exactly_over_four_workers(balancer: Balancers, gate: Gate) -> None:
    """More wait in the kernel's queue until one of them ends; none is refused."""
    lb = balancer(gate.server.address, frontend={"max_connections": 5}, global_={"workers": 4})
    clients = accepted(lb, 30)
    wait_until(lambda: len(gate.came) == 5, what="five requests")
    assert lb.complained("accepting pauses: max_connections of the frontend")
    waiting = [c for c in clients if c.silent(0.02)]
    assert (len(waiting), len(gate.came)) == (30, 5)
    gate.go.set()
    while clients:
        # Who has its answer leaves, and another one is let in.
        for one in [c for c in clients if not c.silent(0.02)]:
            assert one.response().status == 200
            one.close()
            clients.remove(one)
    assert len(gate.came) == 30
