"""Names by name servers of one's own, against a DNS server of the test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
import uvloop

from fastlb.config.address import parse_server
from fastlb.control.names import Answer, look_up
from fastlb.control.resolve import names_of, with_addresses
from fastlb.spec import Address, Backend, Resolver, Server, Spec
from tests.name_server import NameServer

IN, IN6 = int(socket.AF_INET), int(socket.AF_INET6)


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    with NameServer(ttl=77) as one:
        one.records = {
            "both.test": ["192.0.2.1", "192.0.2.2", "2001:db8::1"],
            "six.test": ["2001:db8::1"],
            "mute.test": None,
        }
        yield one


def find(name: str, server: NameServer, within: float = 10.0) -> Answer:
    resolver = Resolver(nameservers=(parse_server(server.address),), timeout=within)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(look_up(name, resolver, within))


def test_all_addresses_and_their_time(server: NameServer) -> None:
    both = find("both.test", server)  # of each kind in the order of the answer, which name servers vary
    assert sorted(both.addresses) == [(IN, "192.0.2.1"), (IN, "192.0.2.2"), (IN6, "2001:db8::1")]
    assert (both.addresses[2][0], both.ttl) == (IN6, 77.0)
    assert find("both.test.", server).ttl == 77.0
    assert find("six.test", server) == Answer(((IN6, "2001:db8::1"),), 77.0)


def test_no_such_name(server: NameServer) -> None:
    assert find("lost.test", server) == Answer(reason="the name cannot be resolved (there is no such name)")


def test_silence(server: NameServer) -> None:
    answer = find("mute.test", server, within=0.1)
    assert not answer.addresses and answer.reason


def test_localhost_is_the_systems_affair(server: NameServer) -> None:
    assert {host for _, host in find("localhost", server).addresses} <= {"127.0.0.1", "::1"}


def spec() -> Spec:
    servers = (
        Server("named", Address("app.test", 80), resolved=((IN, ("192.0.2.1", 80)), (IN, ("192.0.2.2", 80)))),
        Server("new", Address("new.test", 81)),
        Server("literal", Address("10.0.0.1", 80), resolved=((IN, ("10.0.0.1", 80)),)),
    )
    return Spec((), (Backend("app", servers),))


def test_a_server_stays_where_its_name_still_is() -> None:
    before = spec()
    assert names_of(before) == {"app.test", "new.test"}
    for addresses in (("192.0.2.9", "192.0.2.1"), ("192.0.2.1",), ()):
        found = {"app.test": Answer(tuple((IN, a) for a in addresses), 1.0)}
        assert with_addresses(before, found) == (before, [])


def test_servers_follow_their_names() -> None:
    found = {"app.test": Answer(((IN, "192.0.2.9"),), 1.0), "new.test": Answer(((IN6, "::1"),), 1.0)}
    after, moves = with_addresses(spec(), found)
    assert [s.resolved for s in after.backends[0].servers] == [
        ((IN, ("192.0.2.9", 80)),), ((IN6, ("::1", 81)),), ((IN, ("10.0.0.1", 80)),),
    ]  # fmt: skip
    assert [(m.server.name, m.before, m.after) for m in moves] == [
        ("named", "192.0.2.1", "192.0.2.9"), ("new", "", "::1"),
    ]  # fmt: skip
