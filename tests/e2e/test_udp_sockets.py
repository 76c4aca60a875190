"""Mode udp: sockets that serve one flow after the other, and what they hear between two."""

from __future__ import annotations

import time

import pytest

from tests.helpers import SLOWNESS

from .balancer import Balancer, Balancers
from .datagrams import Peer
from .test_udp import backend, client, frontend, udp_port


@pytest.fixture(scope="module")
def udp(shared_balancer: Balancers, played: Peer) -> Balancer:
    dead = {"address": f"127.0.0.1:{udp_port()}", "name": "dead"}
    return shared_balancer(
        frontends={
            "query": frontend("played", responses=1),
            "syslog": frontend("played", flow="packet", responses=0),
            "lossy": frontend("lossy", flow="packet", responses=0),
        },
        backends={"played": backend(played), "lossy": backend(dead, played, balance="round_robin")},
    )


def query(udp: Balancer, played: Peer, number: int) -> tuple[str, int]:
    """A client of its own asks and gets its own answer; where the server saw it come from."""
    with client(udp, "query") as peer:
        peer.send(b"%d" % number)
        data, flow = played.take()
        assert data == b"%d" % number
        played.tell(flow, b"answer %d" % number)
        assert peer.get() == b"answer %d" % number
        return flow


def test_a_socket_serves_another_flow(udp: Balancer, played: Peer) -> None:
    seen = [query(udp, played, 0)]
    deadline = time.monotonic() + 10 * SLOWNESS
    while len(set(seen)) == len(seen):
        assert time.monotonic() < deadline, "every flow had a socket of its own"
        time.sleep(0.05)  # a socket has to rest first
        seen.append(query(udp, played, len(seen)))


def test_what_comes_late_reaches_nobody_else(udp: Balancer, played: Peer) -> None:
    deadline = time.monotonic() + 1.5
    number = 0
    while time.monotonic() < deadline:
        flow = query(udp, played, number)
        played.tell(flow, b"answered twice")  # to the socket, which rests
        number += 1
        time.sleep(0.02)


def test_packets_without_answers_share_a_socket(udp: Balancer, played: Peer) -> None:
    with client(udp, "syslog") as peer:
        came_from = []
        for n in range(20):
            peer.send(b"%d" % n)
            data, flow = played.take()
            assert data == b"%d" % n
            came_from.append(flow)
        assert len(set(came_from)) < len(came_from)


def test_a_server_that_refuses_what_is_not_answered_is_left_out(udp: Balancer, played: Peer) -> None:
    deadline = time.monotonic() + 20 * SLOWNESS
    with client(udp, "lossy") as peer:
        while "server lossy/dead is EJECTED" not in udp.program.output:
            assert time.monotonic() < deadline
            peer.send(b"x")
            peer.send(b"x")
            assert played.take()[0] == b"x"
        peer.send(b"last")
        while played.take()[0] != b"last":
            pass
