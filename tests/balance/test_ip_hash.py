"""ip_hash as nginx has it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.balance import Balancer, Server
from fastlb.balance.ip_hash import hash_of_ip, key_of_ip
from fastlb.balance.probe import Probe
from tests.oracle.hashing import ip_hash


@pytest.mark.parametrize(
    ("address", "h", "slot"),
    [("10.0.0.7", 2565, 0), ("192.168.1.9", 154, 1), ("203.0.113.5", 2592, 0), ("8.8.8.8", 3023, 2)],
)
def test_known_hashes(address: str, h: int, slot: int) -> None:
    packed = ipaddress.ip_address(address).packed
    assert hash_of_ip(packed) == h
    servers = [Server(f"10.9.0.{i}:80") for i in range(3)]
    assert Balancer("ip_hash", servers).pick(address) is servers[slot]


@given(st.ip_addresses(), st.integers(1, 6))
def test_refused_choices_go_on_as_in_nginx(address: ipaddress.IPv4Address, n: int) -> None:
    p = Probe("ip_hash", [(f"s{i}", 1) for i in range(n)])
    key = key_of_ip(address.packed)
    wanted = [ip_hash(address.packed, runs) % n for runs in range(1, 21)]
    assert p.select(key=key) == wanted[0]
    others = [w for w in wanted if w != wanted[0]]
    if others:
        assert p.select(key=key, tried=[wanted[0]]) == others[0]
        p.write(wanted[0], state=0)
        assert p.select(key=key) == others[0]


@given(st.ip_addresses(v=4), st.integers(0, 255))
def test_a_network_of_24_bits_is_one_client(address: ipaddress.IPv4Address, last: int) -> None:
    b = Balancer("ip_hash", [f"10.9.0.{i}:80" for i in range(7)])
    other = ipaddress.ip_address(address.packed[:3] + bytes([last]))
    assert b.pick(str(address)) is b.pick(str(other)) is b.pick(address.packed)


def test_weights_and_down_servers_do_not_move_other_clients() -> None:
    servers = [Server(f"10.9.0.{i}:80", weight=1 + i) for i in range(4)]
    b = Balancer("ip_hash", servers)
    clients = [f"10.{i}.{j}.1" for i in range(40) for j in range(40)]
    before = {c: b.pick(c) for c in clients}
    shares = [sum(s is server for s in before.values()) / len(clients) for server in servers]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.05)
    b.set_state(servers[2], "down")
    assert all(b.pick(c) is before[c] for c in clients if before[c] is not servers[2])
    assert {b.pick(c) for c in clients if before[c] is servers[2]} == set(servers) - {servers[2]}


def test_ipv6_and_other_keys() -> None:
    b = Balancer("ip_hash", [f"10.9.0.{i}:80" for i in range(5)])
    v6 = ipaddress.ip_address("2001:db8::1")
    assert b.pick(str(v6)) is b.pick(v6.packed) is b.pick("2001:0db8:0:0::1")
    assert len({b.pick(f"client {i}") for i in range(100)}) == 5
    assert b.pick("client 1") is b.pick("client 1")
