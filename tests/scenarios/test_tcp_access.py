"""mode = "tcp": who gets through, and what the others get."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.wire import PATIENCE, Wire, dial
from tests.helpers import free_port, wait_until

from .greeter import Greeter, greeted


@pytest.fixture(scope="module")
def greeter() -> Iterator[Greeter]:
    one = Greeter("in")
    yield one
    one.stop()


@pytest.fixture(scope="module")
def lb(shared_balancer: Balancers, greeter: Greeter) -> Balancer:
    """A frontend for each action: 127.0.0.9 is denied, and on `web` whoever is not of the first /16."""
    deny = {"deny": ["127.0.0.9"]}

    def front(**access: object) -> dict[str, object]:
        return {"mode": "tcp", "listen": f"127.0.0.1:{free_port()}", "backend": "app", "access": deny | access}

    return shared_balancer(
        frontends={
            "web": front(allow=["127.0.0.0/16"]),
            "late": front(action="tarpit", tarpit="300ms"),
            "held": front(action="tarpit", tarpit="1h", tarpit_max=1),
            "dropped": front(action="drop"),
            "routed": {
                "mode": "tcp",
                "listen": f"127.0.0.1:{free_port()}",
                "routes": [
                    {"source": "127.0.0.0/24", "backend": "app", "access": deny},
                    {"source": "127.0.1.0/24", "backend": "app"},
                ],
            },
        },
        backends={"app": {"mode": "tcp", "servers": greeter.address}},
    )


def come(lb: Balancer, source: str, frontend: str = "web") -> Wire:
    return dial(("127.0.0.1", lb.ports[frontend]), source=source)


def flags(lb: Balancer, client: Wire) -> str:
    """The termination flags of a client's session; awaited."""
    host, port = client.sock.getsockname()
    return lb.program.wait_line(rf"{host}:{port} \[.* (\S\S) \d+/\d+/\d+/\d+/\S+ \d+/\d+$")[1]


@pytest.mark.parametrize("source", ["127.0.0.8", "127.0.255.255"])
def test_an_allowed_network(lb: Balancer, source: str) -> None:
    with come(lb, source) as client:
        assert greeted(client) == "in"


@pytest.mark.parametrize("source", ["127.0.0.9", "127.1.0.0"])
def test_the_connection_of_others_is_closed(lb: Balancer, greeter: Greeter, source: str) -> None:
    served = greeter.served
    with come(lb, source) as client:
        assert client.ended() == "fin"
        assert flags(lb, client) == "PR"
    assert greeter.served == served


def test_a_tarpit_closes_it_late(lb: Balancer) -> None:
    began = time.monotonic()
    with come(lb, "127.0.0.9", "late") as client:
        assert client.ended() == "fin"
        assert time.monotonic() - began >= 0.3
        assert flags(lb, client) == "PT"


def test_a_tarpit_holds_a_limited_number_and_lets_go_of_those_who_leave(lb: Balancer) -> None:
    held = come(lb, "127.0.0.9", "held")
    assert held.silent()
    assert not _is_held(lb)
    held.finish()  # half of it is enough: there will be nobody to talk to
    assert held.ended() == "fin"
    assert flags(lb, held) == "CR"

    wait_until(lambda: _is_held(lb), what="the place in the tarpit to be free")


def _is_held(lb: Balancer) -> bool:
    try:
        with come(lb, "127.0.0.9", "held") as client:
            return client.silent(0.2)
    except ConnectionResetError:  # before the client knew that it was connected
        return False


def test_dropping_says_nothing(lb: Balancer) -> None:
    with socket.socket() as client, pytest.raises(ConnectionResetError):
        client.settimeout(PATIENCE)
        client.bind(("127.0.0.9", 0))
        client.connect(("127.0.0.1", lb.ports["dropped"]))  # may hear of it here already
        client.recv(1)


def test_routes_have_rules_of_their_own(lb: Balancer) -> None:
    for source, name in (("127.0.0.8", "in"), ("127.0.1.9", "in"), ("127.0.0.9", ""), ("127.0.2.1", "")):
        with come(lb, source, "routed") as client:
            assert client.rest() == b"" if not name else greeted(client) == name, source
