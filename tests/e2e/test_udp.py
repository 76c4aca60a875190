"""Mode udp: flows, their servers, their ends, their limits."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from tests.helpers import free_port

from .balancer import Balancer, Balancers
from .datagrams import Echo, Peer


def udp_port(host: str = "127.0.0.1") -> int:
    return free_port(host, socket.SOCK_DGRAM)


def frontend(backend: str, host: str = "127.0.0.1", **udp: Any) -> dict[str, Any]:
    listen = f"[{host}]:{udp_port(host)}" if ":" in host else f"{host}:{udp_port()}"
    return {"listen": listen, "mode": "udp", "backend": backend, "udp": udp}


def backend(*servers: Any, **more: Any) -> dict[str, Any]:
    return {"mode": "udp", "servers": [s if isinstance(s, dict) else s.address for s in servers], **more}


@pytest.fixture(scope="module")
def udp(shared_balancer: Balancers, echoes: tuple[Echo, Echo], played: Peer) -> Balancer:
    """One balancer for all that needs no special one."""
    dead = {"address": f"127.0.0.1:{udp_port()}", "name": "dead"}
    six = Echo("six", "::1")
    return shared_balancer(
        frontends={
            "tuple": frontend("pair"),
            "source": frontend("pair", flow="source"),
            "packet": frontend("pair", flow="packet", responses=1),
            "once": frontend("pair", responses=1),
            "three": frontend("pair", requests=3),
            "hash": frontend("hashed"),
            "played": frontend("played"),
            "twice": frontend("played", responses=2),
            "oneway": frontend("played", responses=0),
            "few": frontend("played", max_flows=2, overflow="refuse"),
            "evict": frontend("played", max_flows=2),
            "modest": frontend("played", amplification=2),
            "failing": frontend("failing", responses=1),
            "gone": frontend("gone", responses=1),
            "six": frontend("six", "::1"),
            "any": {**frontend("pair"), "listen": f":{udp_port()}"},
        },
        backends={
            "pair": backend(*echoes, balance="round_robin"),
            "hashed": backend(*echoes, balance={"algorithm": "consistent_hash", "key": "ip"}),
            "played": backend(played),
            "failing": backend(dead, echoes[0], balance="first", outlier=False),
            "gone": backend(dead, outlier=False),
            "six": backend(six),
        },
        log={"format": "json"},
    )


def client(udp: Balancer, name: str, host: str = "127.0.0.1") -> Peer:
    return Peer(to=(host, udp.ports[name]))


def ended(udp: Balancer, name: str, peer: Peer) -> dict[str, Any]:
    """The access log line of the client's flow; awaited."""
    found = udp.program.wait_line(rf'"client_port":{peer.port},"frontend":"{name}"')
    return dict(json.loads(found.string))


def test_a_flow_keeps_its_server(udp: Balancer) -> None:
    with client(udp, "tuple") as one, client(udp, "tuple") as other:
        first, second = one.ask(b"1"), other.ask(b"1")
        assert {first, second} == {b"a:1", b"b:1"}  # round robin over flows
        for n in range(5):
            assert one.ask(b"%d" % n) == first[:2] + b"%d" % n
            assert other.ask(b"%d" % n) == second[:2] + b"%d" % n


def test_the_server_sees_one_address_a_flow(udp: Balancer, played: Peer) -> None:
    with client(udp, "played") as one, client(udp, "played") as other:
        for peer in (one, one, other):
            peer.send(b"x")
        seen = [played.take()[1] for _ in range(3)]
        assert seen[0] == seen[1] != seen[2]
        played.tell(seen[0], b"for one")
        played.tell(seen[2], b"for other")
        assert (one.get(), other.get()) == (b"for one", b"for other")


def test_flows_of_one_source_share_a_server(udp: Balancer) -> None:
    peers = [client(udp, "source") for _ in range(6)]
    try:
        answers = {peer.ask(b"x") for peer in peers}
        assert len(answers) == 1
    finally:
        for peer in peers:
            peer.close()


def test_each_packet_by_itself(udp: Balancer) -> None:
    with client(udp, "packet") as peer:
        assert [peer.ask(b"x")[:1] for _ in range(4)] in ([b"a", b"b"] * 2, [b"b", b"a"] * 2)


def test_consistent_hash_by_address(udp: Balancer) -> None:
    answers = set()
    for _ in range(6):
        with client(udp, "hash") as peer:
            answers.add(peer.ask(b"x"))
    assert len(answers) == 1


def test_responses_end_a_flow(udp: Balancer) -> None:
    with client(udp, "once") as peer:
        peer.ask(b"hello")
        line = ended(udp, "once", peer)
        assert (line["bytes_in"], line["bytes_out"], line["termination"]) == (5, 7, "----")
        assert line["server"] in ("127.0.0.1:" + str(p) for p in range(65536))


def test_a_flow_waits_for_all_its_responses(udp: Balancer, played: Peer) -> None:
    with client(udp, "twice") as peer:
        peer.send(b"x")
        _, flow = played.take()
        played.tell(flow, b"1")
        assert peer.get() == b"1"
        peer.send(b"y")
        assert played.take() == (b"y", flow)
        for n in (b"2", b"3", b"4"):
            played.tell(flow, n)
            assert peer.get() == n
        assert ended(udp, "twice", peer)["bytes_out"] == 4


def test_requests_bound_a_flow(udp: Balancer) -> None:
    with client(udp, "three") as peer:
        answers = [peer.ask(b"x")[:1] for _ in range(9)]
        assert answers in ([b"a"] * 3 + [b"b"] * 3 + [b"a"] * 3, [b"b"] * 3 + [b"a"] * 3 + [b"b"] * 3)


def test_no_answer_awaited(udp: Balancer, played: Peer) -> None:
    with client(udp, "oneway") as peer:
        for n in range(10):
            peer.send(b"%d" % n)
        assert [played.take()[0] for _ in range(10)] == [b"%d" % n for n in range(10)]


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65507 - 2])
def test_sizes(udp: Balancer, size: int) -> None:
    data = bytes(i * 7 % 251 for i in range(size))
    with client(udp, "tuple") as peer:
        assert peer.ask(data)[2:] == data


def test_a_burst_arrives_whole_and_in_order(udp: Balancer, played: Peer) -> None:
    with client(udp, "played") as peer:
        sent = [b"%03d" % n + b"." * (n % 7 * 100 if n % 3 else 300) for n in range(100)]
        for data in sent:
            peer.send(data)
        got = [played.take() for _ in sent]
        assert [data for data, _ in got] == sent
        for data in sent:
            played.tell(got[0][1], data)
        assert [peer.get() for _ in sent] == sent


def test_a_server_that_refuses_costs_no_datagram(udp: Balancer) -> None:
    with client(udp, "failing") as peer:
        for data in (b"x", b"", b"a longer one" * 20):
            assert peer.ask(data) == b"a:" + data
        line = ended(udp, "failing", peer)
        assert (line["retries"], line["redispatched"]) == (1, True)


def test_nobody_there(udp: Balancer) -> None:
    with client(udp, "gone") as peer:
        peer.send(b"x")
        line = ended(udp, "gone", peer)
        assert line["termination"] == "SC--"
        udp.complained("server cannot be reached")


def test_refuse_at_the_limit(udp: Balancer, played: Peer) -> None:
    with client(udp, "few") as one, client(udp, "few") as two, client(udp, "few") as three:
        for n, peer in enumerate((one, two, three, one)):
            peer.send(b"%d" % n)
        assert sorted(played.take()[0] for _ in range(3)) == [b"0", b"1", b"3"]  # those of one flow go together


def test_make_room_at_the_limit(udp: Balancer, played: Peer) -> None:
    with client(udp, "evict") as one, client(udp, "evict") as two, client(udp, "evict") as three:
        seen = []
        for peer in (one, two, one, three):
            peer.send(b"x")
            seen.append(played.take()[1])
        assert seen[0] == seen[2]
        assert ended(udp, "evict", two)["termination"] == "RD--"  # the one that was quiet
        one.send(b"x")
        assert played.take()[1] == seen[0]


def test_amplification_is_bounded(udp: Balancer, played: Peer) -> None:
    with client(udp, "modest") as peer:
        peer.send(b"x" * 72)  # 100 bytes on the wire
        _, flow = played.take()
        for answer in (b"a" * 150, b"b" * 150, b"c" * 2):  # 178 of 200 bytes; too much; not any more
            played.tell(flow, answer)
        assert peer.get()[:1] == b"a"
        peer.send(b"x" * 72)  # after the others have been looked at: the kernel reports them first
        played.take()
        played.tell(flow, b"d" * 72)
        assert peer.get()[:1] == b"d"


def test_who_claims_to_be_a_server_is_not_served(udp: Balancer, played: Peer) -> None:
    played.tell(("127.0.0.1", udp.ports["played"]), b"forged")
    with client(udp, "played") as peer:
        peer.send(b"honest")
        assert played.take()[0] == b"honest"


def test_ipv6(udp: Balancer) -> None:
    with client(udp, "six", "::1") as peer:
        assert peer.ask(b"x") == b"six:x"


def test_answers_leave_from_the_address_the_client_used(udp: Balancer) -> None:
    for host in ("127.0.0.1", "127.0.0.2", "127.1.2.3", "::1"):
        with client(udp, "any", host) as peer:  # connected: takes nothing from another address
            assert peer.ask(b"x")[1:] == b":x"
