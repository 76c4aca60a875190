"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .balancer import Balancer, Balancers
from .datagrams import Echo, Peer
from .wire import Origin, close_all


@pytest.fixture
def balancer(tmp_path: Path) -> Iterator[Balancers]:
    """`balancer(*servers, **parts of the configuration)` starts a balancer; see `configuration`."""
    balancers = Balancers(tmp_path)
    yield balancers
    balancers.end()


@pytest.fixture(scope="module")
def shared_balancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancers]:
    """The same for balancers that all tests of a module use."""
    balancers = Balancers(tmp_path_factory.mktemp("balancers"))
    yield balancers
    balancers.end()


@pytest.fixture(scope="module")
def server() -> Iterator[Origin]:
    """The one origin of a module's shared balancer; the test plays it."""
    one = Origin(keep=True)
    yield one
    one.shut()


@pytest.fixture(scope="module")
def echoes() -> Iterator[tuple[Echo, Echo]]:
    """Servers of mode udp that answer by themselves."""
    pair = Echo("a"), Echo("b")
    yield pair
    for one in pair:
        one.close()


@pytest.fixture(scope="module")
def played() -> Iterator[Peer]:
    """A server of mode udp that the test plays."""
    with Peer() as peer:
        yield peer


@pytest.fixture
def plain(plain_balancer: Balancer, server: Origin) -> Balancer:
    """A balancer with default settings over `server`, to which every request makes a new connection."""
    server.forget()
    return plain_balancer


@pytest.fixture(scope="module")
def plain_balancer(shared_balancer: Balancers, server: Origin) -> Balancer:
    return shared_balancer(server, backend={"pool": {"size": 0}})


@pytest.fixture(autouse=True)
def no_wire_left() -> Iterator[None]:
    """Closes the connections and origins that a test leaves open."""
    yield
    close_all()


@pytest.fixture
def origin() -> Origin:
    """An origin that the test plays."""
    return Origin()
