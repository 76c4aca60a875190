"""Fixtures of the scenarios: a balancer as a process, and servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import balancer, no_wire_left, origin, server, shared_balancer
from tests.e2e.servers import Answering

from .gate import Gate

__all__ = ["balancer", "gate", "named", "no_wire_left", "origin", "server", "shared_balancer"]


@pytest.fixture(scope="module")
def named() -> Iterator[list[Answering]]:
    """Three servers that answer with their name: s0, s1, s2, as in the configuration."""
    servers = [Answering(lambda request, body=b"s%d" % i: body) for i in range(3)]  # type: ignore[misc]
    yield servers
    for one in servers:
        one.stop()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A server that answers when its `go` is set."""
    one = Gate()
    yield one
    one.go.set()
    one.server.stop()
