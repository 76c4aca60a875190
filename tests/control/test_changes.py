"""Run-time changes over a configuration: what runs, and what a reload leaves of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.control.changes import Changes
from fastlb.spec import Address, Backend, Server, ServerChange, ServerState, Spec

DRAIN, MAINT, READY = ServerState.DRAIN, ServerState.MAINT, ServerState.READY


def at(number: int) -> Address:
    return Address(f"10.0.0.{number}", 80)


def server(number: int, **more: Any) -> Server:
    return Server(f"s{number}", at(number), **more)


def spec(*servers: Server, **others: tuple[Server, ...]) -> Spec:
    return Spec((), (Backend("app", servers), *(Backend(name, group) for name, group in others.items())))


def effective(changes: Changes, configured: Spec, backend: str = "app") -> dict[str, Server]:
    found = next(b for b in changes.over(configured).backends if b.name == backend)
    return {one.name: one for one in found.servers}


ONE, TWO = server(1, weight=3), server(2)
FILE = spec(ONE, TWO, api=(server(1),))


# ---- what runs


def test_without_changes_it_is_the_configuration_itself() -> None:
    assert Changes().over(FILE) is FILE and len(Changes()) == 0


def test_values_lie_over_those_of_the_file() -> None:
    changes = Changes().changed("app", ONE, state=DRAIN, weight=9).changed("app", TWO, max_connections=5)
    assert effective(changes, FILE) == {
        "s1": replace(ONE, state=DRAIN, weight=9),
        "s2": replace(TWO, max_connections=5),
    }
    assert changes.over(FILE).backends[1] is FILE.backends[1]  # another backend with a server at the same address


def test_a_change_is_added_to_the_ones_before() -> None:
    changes = Changes().changed("app", ONE, weight=9, reason="first").changed("app", ONE, state=DRAIN)
    (change,) = changes
    assert (change.weight, change.state, change.reason) == (9, DRAIN, "first")
    (change,) = changes.changed("app", ONE, weight=8, reason="second")
    assert (change.weight, change.state, change.reason) == (8, DRAIN, "second")


def test_what_the_file_says_is_no_change() -> None:
    assert len(Changes().changed("app", ONE, state=READY, weight=3, max_connections=0)) == 0
    changes = Changes().changed("app", ONE, state=DRAIN).changed("app", ONE, state=READY)
    assert len(changes) == 0 and changes == Changes() and changes.over(FILE) is FILE


def test_each_change_is_a_value_of_its_own() -> None:
    before = Changes().changed("app", ONE, weight=9)
    after = before.changed("app", ONE, weight=8)
    assert effective(before, FILE)["s1"].weight == 9 and effective(after, FILE)["s1"].weight == 8
    assert before != after and before == Changes().changed("app", ONE, weight=9)
    assert hash(before) == hash(Changes().changed("app", ONE, weight=9))
    assert before != "app"


def test_servers_come_and_go() -> None:
    changes = (
        Changes().with_server("app", server(3, weight=7, backup=True, state=DRAIN), "more").without_server("app", ONE)
    )
    assert list(effective(changes, FILE)) == ["s2", "s3"]
    assert effective(changes, FILE)["s3"] == server(3, weight=7, backup=True, state=DRAIN)
    # changed again, and as it was added
    again = changes.changed("app", server(3), state=READY)
    assert effective(again, FILE)["s3"].state is READY
    assert list(effective(changes.forgotten("app", at(3)), FILE)) == ["s2"]
    assert list(effective(changes.forgotten("app", at(1)), FILE)) == ["s1", "s2", "s3"]


def test_what_is_not_in_the_file_does_nothing_and_is_told() -> None:
    changes = Changes().changed("app", server(8), weight=5).changed("nope", ONE, weight=5).changed("app", ONE, weight=5)
    assert effective(changes, FILE) == {"s1": replace(ONE, weight=5), "s2": TWO}
    assert {(c.backend, c.name) for c in changes.unused(FILE)} == {("app", "s8"), ("nope", "s1")}
    assert Changes().with_server("nope", server(3)).unused(FILE) != []
    assert Changes().with_server("app", server(3)).unused(FILE) == []


# ---- over a reload


def test_values_stay_where_the_file_still_says_the_same() -> None:
    changes = Changes().changed("app", ONE, state=DRAIN, weight=9)
    assert changes.after(FILE, FILE) == changes
    assert changes.after(FILE, spec(replace(ONE, name="renamed"), TWO)) == changes


def test_a_value_that_the_file_changed_wins() -> None:
    changes = Changes().changed("app", ONE, state=DRAIN, weight=9, max_connections=5)
    new = spec(replace(ONE, weight=4), TWO)
    left = changes.after(FILE, new)
    assert effective(left, new)["s1"] == replace(ONE, weight=4, state=DRAIN, max_connections=5)
    new = spec(replace(ONE, weight=4, state=MAINT, max_connections=6), TWO)
    assert len(changes.after(FILE, new)) == 0


def test_an_added_server_becomes_that_of_the_file_but_stays_drained() -> None:
    changes = Changes().with_server("app", server(3, weight=7, max_connections=8, state=DRAIN))
    new = spec(ONE, TWO, server(3, weight=2))
    left = changes.after(FILE, new)
    assert effective(left, new)["s3"] == server(3, weight=2, state=DRAIN)
    assert len(Changes().with_server("app", server(3, weight=7)).after(FILE, new)) == 0
    # and is as the file has it from then on
    assert "s3" not in effective(left.after(new, FILE), FILE)


def test_a_server_that_was_left_out_stays_out_until_the_file_brings_it_anew() -> None:
    changes = Changes().without_server("app", ONE)
    assert "s1" not in effective(changes.after(FILE, FILE), FILE)
    without = spec(TWO)
    gone = changes.after(FILE, without)
    assert list(effective(gone, without)) == ["s2"]
    assert "s1" in effective(gone.after(without, FILE), FILE)


def test_what_the_file_drops_is_remembered() -> None:
    changes = Changes().changed("app", ONE, state=DRAIN)
    without = spec(TWO)
    assert list(effective(changes.after(FILE, without), without)) == ["s2"]
    assert effective(changes.after(FILE, without).after(without, FILE), FILE)["s1"].state is DRAIN


# ---- any order of things

STATES = st.sampled_from([None, *ServerState])
NUMBERS = st.integers(1, 4)
VALUES = st.none() | st.integers(0, 3)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), NUMBERS, STATES, VALUES, VALUES),
        st.tuples(st.just("add"), NUMBERS, STATES, VALUES, VALUES),
        st.tuples(st.just("remove"), NUMBERS, st.none(), st.none(), st.none()),
        st.tuples(st.just("forget"), NUMBERS, st.none(), st.none(), st.none()),
    ),
    max_size=12,
)
FILES = st.dictionaries(NUMBERS, st.integers(0, 3), max_size=4)  # number -> weight


def a_file(numbers: dict[int, int]) -> Spec:
    return spec(*(server(n, weight=w) for n, w in numbers.items()))


def played(actions: list[tuple[Any, ...]], configured: Spec) -> tuple[Changes, dict[Address, Server]]:
    """The changes, and what they should come to by a model that keeps nothing but the servers."""
    changes = Changes()
    model = {one.address: one for one in configured.backends[0].servers}
    file = dict(model)
    for what, number, state, weight, limit in actions:
        where = at(number)
        values = {"state": state, "weight": weight, "max_connections": limit}
        given = {name: value for name, value in values.items() if value is not None}
        if what == "change" and where in model:
            changes = changes.changed("app", file.get(where, model[where]), **values)
            model[where] = replace(model[where], **given)
        elif what == "add" and where not in model and where not in file:
            model[where] = replace(server(number), **given)
            changes = changes.with_server("app", model[where])
        elif what == "remove" and where in model:
            changes = changes.without_server("app", model[where]) if where in file else changes.forgotten("app", where)
            del model[where]
        elif what == "forget":
            changes = changes.forgotten("app", where)
            model.pop(where, None)
            if where in file:
                model[where] = file[where]
    return changes, model


@given(FILES, ACTIONS)
def test_any_changes_come_to_what_they_say(numbers: dict[int, int], actions: list[tuple[Any, ...]]) -> None:
    configured = a_file(numbers)
    changes, model = played(actions, configured)
    assert {one.address: one for one in changes.over(configured).backends[0].servers} == model
    assert Changes(changes) == changes
    assert all(change.backend == "app" for change in changes)


@given(FILES, ACTIONS, FILES)
def test_a_reload_and_back_keeps_what_the_file_did_not_touch(
    numbers: dict[int, int], actions: list[tuple[Any, ...]], other: dict[int, int]
) -> None:
    before, now = a_file(numbers), a_file(other)
    changes, model = played(actions, before)
    assert changes.after(before, before).over(before) == changes.over(before)
    found = {one.address: one for one in changes.after(before, now).over(now).backends[0].servers}
    for number in range(1, 5):
        where = at(number)
        if numbers.get(number) == other.get(number):  # the file says of it what it said
            assert found.get(where) == model.get(where)
        elif number in numbers and number in other and where in model:
            assert found[where].weight == other[number]
            assert (found[where].state, found[where].max_connections) == (
                model[where].state,
                model[where].max_connections,
            )


@pytest.mark.parametrize("change", [ServerChange("app", at(1), "s1"), ServerChange("app", at(1), "s1", reason="why")])
def test_a_change_that_says_nothing_is_none(change: ServerChange) -> None:
    assert len(Changes([change])) == 0
