"""Indices of the shared region: kept by identity, reused only when nobody can be using them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlb._core.region import DRAIN, EJECTED, FULL_RAMP, UP, Region
from fastlb.control.server_state import describe, publish, retire
from fastlb.control.slots import Assignment, Slots
from fastlb.errors import ConfigError
from fastlb.spec import Address, Backend, Frontend, Listen, Server, ServerState, Spec


def server(port: int, *, weight: int = 1, limit: int = 0, resolved: bool = True) -> Server:
    found = ((2, ("127.0.0.1", port)),) if resolved else ()
    return Server(f"s{port}", Address("127.0.0.1", port), weight=weight, max_connections=limit, resolved=found)


def spec(frontends: list[str], backends: dict[str, list[Server]], limit: int = 0) -> Spec:
    return Spec(
        frontends=tuple(Frontend(n, (Listen(Address("", 0)),)) for n in frontends),
        backends=tuple(Backend(n, tuple(s), max_connections=limit) for n, s in backends.items()),
    )


def address(port: int) -> Address:
    return Address("127.0.0.1", port)


def test_first_assignment_is_dense() -> None:
    given_ = Slots().assign(spec(["a", "b"], {"x": [server(1), server(2)], "y": [server(1)]}))
    assert given_.generation == 1
    assert given_.frontends == {"a": 0, "b": 1}
    assert given_.backends == {"x": 0, "y": 1}
    assert given_.servers == {("x", address(1)): 0, ("x", address(2)): 1, ("y", address(1)): 2}
    assert given_.server("y", address(1)) == 2


def test_what_stays_keeps_its_index_whatever_its_place() -> None:
    table = Slots()
    first = table.assign(spec(["a"], {"x": [server(1), server(2), server(3)]}))
    second = table.assign(spec(["a"], {"x": [server(4), server(3), server(1)]}))
    assert second.generation == 2
    assert second.server("x", address(1)) == first.server("x", address(1))
    assert second.server("x", address(3)) == first.server("x", address(3))
    assert second.server("x", address(4)) == 3  # not the one of 2: workers may still use it


def test_a_freed_index_waits_for_every_worker_and_its_last_use() -> None:
    table = Slots()
    table.assign(spec(["a"], {"x": [server(1), server(2)]}))
    dropped = table.assign(spec(["a"], {"x": [server(1)]}))
    assert table.reclaim(dropped.generation - 1) == 0  # a worker still runs the one before
    assert table.reclaim(dropped.generation, server_busy=lambda index: index == 1) == 0  # a request is still on it
    assert table.reclaim(dropped.generation) == 1
    assert table.reclaim(dropped.generation) == 0
    assert table.assign(spec(["a"], {"x": [server(1), server(9)]})).server("x", address(9)) == 1


def test_a_server_that_comes_back_gets_its_line_again_while_it_may_be_in_use() -> None:
    both, one = spec([], {"x": [server(1), server(2)]}), spec([], {"x": [server(2)]})
    table = Slots()
    table.assign(both)
    assert table.fresh().servers == {("x", address(1)), ("x", address(2))}
    table.assign(one)
    assert table.retired_servers() == [0]
    assert table.assign(both).server("x", address(1)) == 0
    assert table.fresh().servers == frozenset()
    table.reclaim(table.assign(one).generation)
    assert table.retired_servers() == []
    assert table.assign(both).server("x", address(1)) == 0
    assert table.fresh().servers == {("x", address(1))}


def test_what_comes_back_needs_no_further_room() -> None:
    table = Slots(servers=2)
    table.assign(spec([], {"x": [server(1), server(2)]}))
    table.assign(spec([], {"x": [server(2)]}))
    with pytest.raises(ConfigError):
        table.assign(spec([], {"x": [server(2), server(3)]}))
    assert table.assign(spec([], {"x": [server(1), server(2)]})).server("x", address(1)) == 0


def test_too_many_changes_nothing() -> None:
    table = Slots(servers=2)
    table.assign(spec([], {"x": [server(1), server(2)]}))
    with pytest.raises(ConfigError) as caught:
        table.assign(spec([], {"x": [server(1), server(2), server(3)]}))
    assert caught.value.problems[0].key == "servers"
    assert table.generation == 1
    assert table.assign(spec([], {"x": [server(1), server(2)]})).servers == {
        ("x", address(1)): 0,
        ("x", address(2)): 1,
    }


def test_assignment_travels() -> None:
    given_ = Slots().assign(spec(["a"], {"x": [server(1)]}))
    assert pickle.loads(pickle.dumps(given_)) == given_


@settings(max_examples=60)
@given(st.lists(st.sets(st.integers(1, 12)), min_size=1, max_size=12), st.data())
def test_no_two_live_holders_ever_share_an_index(steps: list[set[int]], data: st.DataObject) -> None:
    table = Slots(servers=200)
    published: list[Assignment] = []
    acknowledged = 0
    for ports in steps:
        published.append(table.assign(spec([], {"x": [server(p) for p in sorted(ports)]})))
        # workers run anything from `acknowledged` on; an index must mean one identity in all of these
        meaning: dict[int, object] = {}
        for one in published:
            if one.generation >= max(acknowledged, 1):
                for identity, index in one.servers.items():
                    assert meaning.setdefault(index, identity) == identity
        acknowledged = data.draw(st.integers(acknowledged, table.generation))
        table.reclaim(acknowledged)


def test_publish_writes_lines_once_and_then_only_changes() -> None:
    region = Region.create(False, 1)
    region.begin_worker(0)
    table = Slots()
    first = spec(["a"], {"x": [server(1, weight=3), server(2, limit=9)]}, limit=5)
    one = table.assign(first)
    publish(region, first, one, table.fresh())
    assert [region.state(i) for i in (0, 1)] == [UP, UP]
    assert [region.weight(i) for i in (0, 1)] == [3, 1]
    assert [region.limit(i) for i in (0, 1)] == [5, 9]  # the server's own, else the backend's
    assert region.ramp(0) == FULL_RAMP

    region.change_state(0, set=EJECTED)
    region.change_state(1, clear=UP)
    region.hold(0, 0)
    drained = replace(server(2, limit=4), state=ServerState.DRAIN)
    second = spec(["a"], {"x": [server(1, weight=4), drained, server(3)]}, limit=6)
    two = table.assign(second)
    epoch = region.group_epoch(0)
    publish(region, second, two, table.fresh(), before=first)
    assert [region.weight(i) for i in (0, 1, 2)] == [4, 1, 1]
    assert [region.limit(i) for i in (0, 1, 2)] == [6, 4, 6]
    assert [region.state(i) for i in (0, 1, 2)] == [UP | EJECTED, DRAIN, UP]  # what the checks found stays
    assert region.inflight(0) == 1
    assert region.group_epoch(0) > epoch

    third = spec(["a"], {"x": [server(1, weight=4)]})
    publish(region, third, table.assign(third), table.fresh(), before=second)
    assert region.state(2) == UP  # a worker may not know yet
    retire(region, table.retired_servers())
    assert [region.state(i) for i in (0, 1, 2)] == [UP | EJECTED, 0, 0]

    fourth = spec(["a"], {"x": [server(1, weight=4), server(3)]})
    gone = set(table.retired_servers())
    publish(region, fourth, table.assign(fourth), table.fresh(), before=third, retired=gone)
    assert [region.state(i) for i in (0, 1, 2)] == [UP | EJECTED, 0, UP]


def test_who_joins_starts_slowly() -> None:
    region = Region.create(False, 1)
    table = Slots()

    def publish_next(
        *servers: Server, before: Spec | None, window: float = 20.0
    ) -> tuple[Spec, list[tuple[int, float]]]:
        now = spec([], {"x": list(servers)})
        now = replace(now, backends=(replace(now.backends[0], slow_start=window),))
        assignment = table.assign(now)
        return now, publish(region, now, assignment, table.fresh(), before=before)

    first, joined = publish_next(server(1), server(2, resolved=False), before=None)
    assert joined == []  # at the start nobody is behind
    second, joined = publish_next(server(1), server(2, resolved=False), server(3), before=first)
    assert joined == [(2, 20.0)]
    third, joined = publish_next(server(1), server(2), server(3), before=second)
    assert joined == [(1, 20.0)]  # its name is found
    moved = replace(server(3), resolved=((2, ("127.0.0.9", 3)),))
    fourth, joined = publish_next(server(1), server(2), moved, before=third)
    assert joined == [(2, 20.0)]  # another machine
    assert publish_next(server(1), server(2), moved, before=fourth)[1] == []
    assert publish_next(server(1), server(2), moved, server(4), before=fourth, window=0.0)[1] == []


def test_a_server_without_an_address_is_down_until_it_has_one() -> None:
    region = Region.create(False, 1)
    table = Slots()
    lost = spec([], {"x": [server(1, resolved=False)]})
    one = table.assign(lost)
    publish(region, lost, one, table.fresh())
    assert region.state(0) == 0
    found = spec([], {"x": [server(1)]})
    two = table.assign(found)
    publish(region, found, two, table.fresh(), before=lost)
    assert region.state(0) == UP
    publish(region, lost, table.assign(lost), table.fresh(), before=found)
    assert region.state(0) == 0


@pytest.mark.parametrize(
    ("state", "word"), [(0, "DOWN"), (1, "UP"), (3, "DRAIN"), (5, "MAINT"), (4, "MAINT"), (9, "EJECTED"), (2, "DOWN")]
)
def test_state_words(state: int, word: str) -> None:
    assert describe(state) == word
