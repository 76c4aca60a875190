"""Rates that several nodes share through Redis: docs/limits.md, with a real server that goes away and comes back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.wire import Wire
from tests.helpers import Program, free_port, need, wait_until

BURST = 1999


class Redis:
    """A server that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self._program = need("redis-server")
        self._folder = folder
        self.port = free_port()
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.program = Program([self._program, *options, "--dir", self._folder])
        self.program.wait_port(("127.0.0.1", self.port))

    def stop(self) -> None:
        self.program.stop(signal.SIGKILL)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    one = Redis(tmp_path)
    yield one
    one.stop()


def node(balancer: Balancers, redis: Redis, workers: int = 0) -> Balancer:
    limit = {"rate": "1/d", "burst": BURST, "key": "header:X-Key", "shared": True}
    lb = balancer(
        frontend={"rate_limits": [limit], "routes": [{"path": "/*", "respond": {"status": 204}}]},
        global_={"workers": workers},
        redis={"url": f"redis://127.0.0.1:{redis.port}", "interval": "20ms"},
        log={"access": "off"},
    )
    lb.program.wait_line("rates are shared")
    return lb


def status(c: Wire, key: str) -> int:
    return c.get("/", f"X-Key: {key}").response().status


def use_up(c: Wire, key: str) -> int:
    """How many requests pass until one is refused."""
    passed = 0
    while status(c, key) == 204:
        passed += 1
    return passed


def heard(c: Wire, key: str) -> int:
    """How many requests pass, one now and then, until one is refused: by what other nodes have counted, if soon."""
    passed = [0]

    def refused() -> bool:
        if status(c, key) == 429:
            return True
        passed[0] += 1
        return False

    wait_until(refused, 60, "what another node has counted")
    return passed[0]


def test_two_nodes_share_a_rate_and_go_on_without_redis(balancer: Balancers, redis: Redis) -> None:
    one, two = node(balancer, redis), node(balancer, redis, workers=2)
    with one.dial() as a, two.dial() as b:
        assert use_up(a, "x") == BURST + 1
        assert heard(b, "x") < BURST  # its own table would allow all of them
        assert status(b, "other") == 204

        redis.stop()
        for lb in (one, two):
            lb.complained("Redis does not answer")
        assert use_up(a, "y") == BURST + 1  # each node by itself, and at once
        assert use_up(b, "y") == BURST + 1
        assert status(a, "x") == 429

        before = len(one.program.lines), len(two.program.lines)
        redis.start()
        for lb, start in zip((one, two), before, strict=True):
            lb.program.wait_line("rates are shared", 20, start)
        assert use_up(b, "z") == BURST + 1
        assert heard(a, "z") < BURST


def test_a_redis_that_hangs_holds_up_nobody(balancer: Balancers, redis: Redis) -> None:
    lb = node(balancer, redis)
    redis.program.send(signal.SIGSTOP)
    try:
        with lb.dial() as c:
            assert use_up(c, "x") == BURST + 1
            lb.complained("Redis does not answer")
            assert status(c, "y") == 204
    finally:
        redis.program.send(signal.SIGCONT)
