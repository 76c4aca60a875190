"""Passive checks with real processes: who fails is left out, and let in again when its time is over."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.helpers import wait_until

from .balancer import Balancer, Balancers
from .servers import Answering
from .wire import Message

DOWN = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\ndown"


class Moody:
    """A server that answers 503 while `bad`."""

    def __init__(self) -> None:
        self.bad = False
        self.stopped = False
        self.served = 0
        self.server = Answering(self.answer)

    @property
    def address(self) -> str:
        return self.server.address

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.server.stop()

    def answer(self, request: Message) -> bytes:
        self.served += 1
        return DOWN if self.bad else b"ok"


@pytest.fixture
def moody() -> Iterator[list[Moody]]:
    servers = [Moody() for _ in range(3)]
    yield servers
    for one in servers:
        one.stop()


def ask(lb: Balancer, count: int, mark: str = "") -> list[int]:
    """Statuses of so many requests over one connection, for the paths /MARK0, /MARK1 and so on."""
    client = lb.dial()
    return [client.get(f"/{mark}{n}").response().status for n in range(count)]


def until(lb: Balancer, pattern: str, requests: int = 3) -> None:
    """Keeps asking until the error log says so."""
    while not any(pattern in line for line in list(lb.program.lines)):
        ask(lb, requests)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_server_is_left_out_and_comes_back(balancer: Balancers, moody: list[Moody], workers: int) -> None:
    lb = balancer(
        *(one.address for one in moody),
        global_={"workers": workers},
        backend={"balance": "round_robin", "outlier": {"base": "1s", "slow_start": 0}},
    )
    assert ask(lb, 30) == [200] * 30
    assert all(one.served for one in moody)
    moody[1].bad = True
    until(lb, "server app/s1 is EJECTED for 1 s: ")
    before = moody[1].served
    statuses = []
    while "app/s1 is no longer ejected: its time is over" not in lb.program.output:
        statuses += ask(lb, 3)
        if moody[1].served == before:
            moody[1].bad = False  # it is out: from now on it would be well
    assert set(statuses) == {200}
    while moody[1].served == before:
        assert ask(lb, 3) == [200, 200, 200]


def test_who_refuses_connections_costs_no_request(balancer: Balancers, moody: list[Moody]) -> None:
    lb = balancer(*(one.address for one in moody), backend={"balance": "round_robin"})
    moody[2].stop()
    statuses: list[int] = []
    while "server app/s2 is EJECTED" not in lb.program.output:
        statuses += ask(lb, 3)
    assert set(statuses) == {200}  # each went to another server
    ask(lb, 30)
    ask(lb, 30, "left-out-")
    lines = [lb.logged(f"/left-out-{n} ") for n in range(30)]
    assert {line.server for line in lines} == {"s0", "s1"}
    assert {line.retries for line in lines} == {"0"}


def test_the_last_server_stays(balancer: Balancers, moody: list[Moody]) -> None:
    lb = balancer(moody[0].address)
    moody[0].bad = True
    until(lb, "server app/s0 stays although")
    moody[0].bad = False
    assert ask(lb, 5) == [200] * 5


def test_turned_off_nobody_is_left_out(balancer: Balancers, moody: list[Moody]) -> None:
    lb = balancer(*(one.address for one in moody), backend={"balance": "round_robin", "outlier": False})
    assert "passive checks" in lb.program.output
    moody[1].bad = True
    for _ in range(20):
        before = moody[1].served
        ask(lb, 6)
        assert moody[1].served > before
    assert "EJECTED" not in lb.program.output


def test_events_are_posted(balancer: Balancers, moody: list[Moody]) -> None:
    told: list[str] = []

    def take(request: Message) -> bytes:
        told.append(request.body.decode())
        return b"thanks"

    with Answering(take) as receiver:
        lb = balancer(
            *(one.address for one in moody),
            backend={"balance": "round_robin"},
            admin={"webhook": f"http://{receiver.address}/", "webhook_level": "warning"},
        )
        moody[0].bad = True
        until(lb, "server app/s0 is EJECTED")
        wait_until(lambda: told, what="a post")
    (event,) = json.loads(told[0])["events"]
    assert (event["subject"], event["old"], event["new"]) == ("app/s0", "UP", "EJECTED")
