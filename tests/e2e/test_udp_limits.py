"""Mode udp: what a flood of senders can cause, every algorithm, health by other protocols than the traffic's."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fastlb.balance import algorithms
from tests.helpers import wait_until

from .balancer import Balancer, Balancers
from .datagrams import Echo, Peer
from .servers import Answering
from .test_udp import backend, client, frontend

FLOWS = 16
SENDERS = 150


@pytest.fixture(scope="module")
def web() -> Iterator[Answering]:
    """What the health checks ask."""
    server = Answering()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def udp(shared_balancer: Balancers, played: Peer, echoes: tuple[Echo, Echo], web: Answering) -> Balancer:
    checks = {
        kind: {"type": kind, "port": web.port, "interval": "100ms", "fall": 1, "rise": 1} for kind in ("tcp", "http")
    }
    return shared_balancer(
        frontends={
            "open": frontend("played", max_flows=FLOWS),
            "answered": frontend("played", max_flows=FLOWS, responses=1),
            **{name: frontend(name) for name in algorithms()},
            **{f"checked-{kind}": frontend(f"checked-{kind}", flow="packet", responses=1) for kind in checks},
        },
        backends={
            "played": backend(played),
            **{
                name: backend(
                    *echoes, balance={"algorithm": name, **({"key": "ip"} if name == "consistent_hash" else {})}
                )
                for name in algorithms()
            },
            **{
                f"checked-{kind}": backend(
                    echoes[0], health_check=check, balance={"algorithm": "round_robin", "panic_threshold": 0}
                )
                for kind, check in checks.items()
            },
        },
    )


@pytest.mark.parametrize("name", ["open", "answered"])
def test_a_flood_of_senders_is_bounded(udp: Balancer, played: Peer, name: str) -> None:
    before = udp.descriptors()
    for n in range(SENDERS):
        with client(udp, name) as peer:
            peer.send(b"%d" % n)
            data, flow = played.take()
            assert data == b"%d" % n
            if name == "answered":
                played.tell(flow, b"yes")
                assert peer.get() == b"yes"
    udp.settled(before + FLOWS)


@pytest.mark.parametrize("algorithm", algorithms())
def test_every_algorithm(udp: Balancer, algorithm: str) -> None:
    for _ in range(3):
        with client(udp, algorithm) as peer:
            first = peer.ask(b"x")
            assert first in (b"a:x", b"b:x")
            assert peer.ask(b"x") == first


def test_health_by_tcp_and_http(udp: Balancer, web: Answering) -> None:
    for kind in ("tcp", "http"):
        with client(udp, f"checked-{kind}") as peer:
            assert peer.ask(b"x") == b"a:x"
    web.stop()
    for kind in ("tcp", "http"):
        udp.program.wait_line(f"checked-{kind}/.* is DOWN")
        with client(udp, f"checked-{kind}") as peer:
            dropped = rf"frontend=checked-{kind} .*no server is available"
            wait_until(lambda peer=peer, line=dropped: asked_in_vain(udp, peer, line), what=f"{kind}: no server")
    web.start()


def asked_in_vain(udp: Balancer, peer: Peer, line: str) -> bool:
    """Sends one more datagram; whether one was reported to have found no server."""
    peer.send(b"to nobody")
    return re.search(line, udp.program.output) is not None
