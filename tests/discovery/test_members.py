"""From answers to servers: order, cap, SRV records, who joins and who leaves."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterable

import pytest

from fastlb.control.changes import Changes
from fastlb.control.names import Answer, Target
from fastlb.control.slots import ServerId
from fastlb.discovery.members import Discovery, Plan, servers_of
from fastlb.spec import Address, Backend, Discover, Server, ServerState, Spec, Timeouts

IN, IN6 = int(socket.AF_INET), int(socket.AF_INET6)
APP = Discover("app.test", 80)


def answer(*addresses: str, ttl: float = 1.0) -> Answer:
    return Answer(tuple((IN6 if ":" in a else IN, a) for a in addresses), ttl)


class Balancer:
    """What the service does with a plan, without a service."""

    def __init__(self, *discover: Discover, servers: Iterable[Server] = (), drain: float = 30.0) -> None:
        self.now = 100.0
        self.busy: set[ServerId] = set()
        self.discovery = Discovery(self.busy.__contains__, lambda: self.now)
        backend = Backend("app", tuple(servers), discover=discover, timeouts=Timeouts(drain=drain))
        self.configured = Spec((), (backend,))
        self.running = self.configured
        self.changes = Changes()

    def hear(self, found: Answer | None = None, question: str = "app.test") -> Plan:
        self.discovery.note({question: found} if found is not None else {})
        spec = dataclasses.replace(self.changes.over(self.configured), changes=tuple(self.changes))
        plan = self.discovery.plan(spec, self.running)
        self.discovery.commit(plan)
        self.running = plan.spec
        return plan

    def told(self, found: Answer | None = None, question: str = "app.test") -> list[str]:
        return [f"{turn.server.name} {turn.what}" for turn in self.hear(found, question).turns]

    @property
    def servers(self) -> dict[str, Server]:
        return {server.name: server for server in self.running.backends[0].servers}


def test_each_address_is_a_server_in_the_order_of_addresses() -> None:
    found = servers_of(APP, answer("192.0.2.10", "2001:db8::1", "192.0.2.9"))
    assert [s.name for s in found] == ["192.0.2.9:80", "192.0.2.10:80", "[2001:db8::1]:80"]
    assert found[0] == Server(
        "192.0.2.9:80", Address("192.0.2.9", 80), resolved=((IN, ("192.0.2.9", 80)),),
        source="app.test:80", host="app.test", slow_start=10.0,
    )  # fmt: skip


@pytest.mark.parametrize(("family", "count"), [("any", 3), ("ipv4", 2), ("ipv6", 1)])
def test_family(family: str, count: int) -> None:
    discover = dataclasses.replace(APP, family=family)
    assert len(servers_of(discover, answer("192.0.2.10", "2001:db8::1", "192.0.2.9"))) == count


def test_what_the_table_says_is_every_servers() -> None:
    discover = Discover("app.test", 80, weight=3, tier=2, max_connections=7, send_proxy="v2", slow_start=0.0)
    (server,) = servers_of(discover, answer("192.0.2.1"))
    assert (server.weight, server.tier, server.max_connections, server.send_proxy) == (3, 2, 7, "v2")
    (server,) = servers_of(Discover("app.test", 80, backup=True), answer("192.0.2.1"))
    assert server.backup


def srv(*rows: tuple[str, int, int, int, str]) -> Answer:
    return Answer(ttl=5.0, targets=tuple(Target(h, port, p, w, answer(a).addresses) for h, port, p, w, a in rows))


def test_services_tell_port_weight_and_tier() -> None:
    found = servers_of(
        Discover("_http._tcp.app.test", tier=1),
        srv(
            ("a.test", 8001, 10, 60, "192.0.2.1"),
            ("b.test", 8002, 10, 0, "192.0.2.2"),
            ("c.test", 8003, 30, 5, "192.0.2.3"),
            ("d.test", 8004, 20, 5, "192.0.2.4"),
        ),
    )
    assert [(s.name, s.weight, s.tier, s.host) for s in found] == [
        ("192.0.2.1:8001", 60, 1, "a.test"),
        ("192.0.2.2:8002", 1, 1, "b.test"),
        ("192.0.2.3:8003", 5, 3, "c.test"),
        ("192.0.2.4:8004", 5, 2, "d.test"),
    ]


def test_more_priorities_than_tiers() -> None:
    rows = [(f"h{i}.test", 80, i, 1, f"192.0.2.{i + 1}") for i in range(10)]
    assert [s.tier for s in servers_of(Discover("s.test"), srv(*rows))] == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]


def test_an_address_of_several_records_counts_once_as_the_best_of_them() -> None:
    (one,) = servers_of(Discover("s.test"), srv(("b", 80, 2, 1, "192.0.2.1"), ("a", 80, 1, 9, "192.0.2.1")))
    assert (one.weight, one.tier) == (9, 0)


def test_servers_follow_the_answers() -> None:
    lb = Balancer(APP)
    lb.hear()
    assert [s.resolved for s in lb.servers.values()] == [()]  # something to see, that is down
    assert list(lb.servers) == ["app.test:80"]
    assert lb.told(answer("192.0.2.1", "192.0.2.2")) == ["192.0.2.1:80 joins", "192.0.2.2:80 joins"]
    assert list(lb.servers) == ["192.0.2.1:80", "192.0.2.2:80"]
    assert not lb.hear(answer("192.0.2.2", "192.0.2.1")).changed  # the order of an answer is chance
    assert lb.told(answer("192.0.2.2", "192.0.2.3")) == ["192.0.2.1:80 leaves", "192.0.2.3:80 joins"]
    assert lb.servers["192.0.2.1:80"].state is ServerState.DRAIN
    assert lb.discovery.leaving


def test_who_leaves_goes_when_nothing_is_in_flight() -> None:
    lb = Balancer(APP)
    lb.hear(answer("192.0.2.1", "192.0.2.2"))
    lb.busy.add(("app", Address("192.0.2.1", 80)))
    lb.hear(answer("192.0.2.2"))
    assert lb.told() == []
    lb.busy.clear()
    assert lb.told() == ["192.0.2.1:80 is gone"]
    assert list(lb.servers) == ["192.0.2.2:80"]
    assert not lb.discovery.leaving


def test_who_leaves_goes_when_its_time_is_over() -> None:
    lb = Balancer(APP, drain=7.0)
    lb.hear(answer("192.0.2.1", "192.0.2.2"))
    lb.busy.add(("app", Address("192.0.2.1", 80)))
    lb.hear(answer("192.0.2.2"))
    lb.now += 6.9
    assert lb.told(answer("192.0.2.2")) == []
    lb.now += 0.2
    assert lb.told() == ["192.0.2.1:80 is gone"]


def test_who_leaves_may_come_back() -> None:
    lb = Balancer(APP)
    lb.hear(answer("192.0.2.1", "192.0.2.2"))
    lb.hear(answer("192.0.2.2"))
    assert lb.told(answer("192.0.2.1", "192.0.2.2")) == ["192.0.2.1:80 is back"]
    assert lb.servers["192.0.2.1:80"].state is ServerState.READY
    assert not lb.discovery.leaving


def test_failures_take_nobody_away() -> None:
    lb = Balancer(APP)
    lb.hear(answer("192.0.2.1", "2001:db8::1"))
    assert not lb.hear(Answer(reason="there is no such name")).changed
    assert lb.discovery.lookups["app.test"].reason == "there is no such name"
    half = dataclasses.replace(answer("192.0.2.2"), unanswered=(IN6,))
    assert lb.told(half) == ["192.0.2.1:80 leaves", "192.0.2.2:80 joins"]
    assert lb.servers["[2001:db8::1]:80"].state is ServerState.READY  # nobody said that it is gone
    assert (lb.discovery.lookups["app.test"].found, lb.discovery.lookups["app.test"].failed) == (2, 1)


def test_a_target_without_an_answer_keeps_its_addresses() -> None:
    lb = Balancer(Discover("s.test"))
    lb.hear(srv(("a", 80, 1, 1, "192.0.2.1"), ("b", 80, 1, 1, "192.0.2.2")), "srv:s.test")
    silent = Target("a", 80, 1, 1, unanswered=(IN, IN6))
    half = Answer(targets=(silent, Target("b", 80, 1, 1, answer("192.0.2.2").addresses)))
    assert not lb.hear(half, "srv:s.test").changed


def test_over_the_cap_those_stay_that_are_there() -> None:
    lb = Balancer(dataclasses.replace(APP, max_servers=2))
    lb.hear(answer("192.0.2.5", "192.0.2.6"))
    assert not lb.hear(answer("192.0.2.1", "192.0.2.2", "192.0.2.5", "192.0.2.6")).changed
    assert lb.discovery.found(lb.configured.backends[0].discover[0]) == 4
    assert lb.told(answer("192.0.2.1", "192.0.2.2", "192.0.2.6")) == ["192.0.2.5:80 leaves", "192.0.2.1:80 joins"]


def test_listed_servers_win_and_two_names_share() -> None:
    listed = Server("mine", Address("192.0.2.1", 80))
    other = Discover("other.test", 80)
    lb = Balancer(APP, other, servers=[listed])
    lb.hear(answer("192.0.2.1", "192.0.2.2"))
    lb.hear(answer("192.0.2.2", "192.0.2.3"), "other.test")
    assert {name: s.source for name, s in lb.servers.items()} == {
        "mine": "", "192.0.2.2:80": "app.test:80", "192.0.2.3:80": "other.test:80",
    }  # fmt: skip


def test_run_time_changes_hold_over_leaving_and_coming_back() -> None:
    lb = Balancer(APP)
    lb.hear(answer("192.0.2.1", "192.0.2.2"))
    base = lb.discovery.base("app", Address("192.0.2.1", 80))
    assert base is not None
    lb.changes = lb.changes.changed("app", base, weight=7)
    lb.hear()
    lb.hear(answer("192.0.2.2"))
    lb.hear()
    assert list(lb.servers) == ["192.0.2.2:80"]
    lb.hear(answer("192.0.2.1", "192.0.2.2"))
    assert lb.servers["192.0.2.1:80"].weight == 7
    lb.changes = lb.changes.without_server("app", base)
    lb.hear()
    assert list(lb.servers) == ["192.0.2.2:80"]


def test_a_change_of_a_server_moves_nobody() -> None:
    lb = Balancer(APP, drain=0.0)
    lb.hear(answer("192.0.2.1", "192.0.2.2"))
    lb.hear(answer("192.0.2.2"))
    lb.discovery.note({"app.test": answer("192.0.2.2", "192.0.2.3")})
    base = lb.discovery.base("app", Address("192.0.2.2", 80))
    assert base is not None
    lb.changes = lb.changes.changed("app", base, weight=7)
    spec = dataclasses.replace(lb.changes.over(lb.configured), changes=tuple(lb.changes))
    servers = lb.discovery.overlaid(spec, lb.running).backends[0].servers
    assert [(s.name, s.weight, s.state.value) for s in servers] == [
        ("192.0.2.1:80", 1, "drain"), ("192.0.2.2:80", 7, "ready"),
    ]  # fmt: skip


def test_a_name_that_left_the_configuration_takes_its_servers_along() -> None:
    lb = Balancer(APP, servers=[Server("mine", Address("192.0.2.9", 80))])
    lb.hear(answer("192.0.2.1"))
    lb.configured = Spec((), (dataclasses.replace(lb.configured.backends[0], discover=()),))
    assert lb.hear().changed
    assert list(lb.servers) == ["mine"]
    assert lb.discovery.lookups == {}
