"""Turns of dear work: behind the events, a little at a time, in order, and never none."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import weakref
from collections.abc import Iterator

import pytest

from fastlb.engine.turn_probe import TurnProbe

DEAR = 0.0012  # longer than all of the work between two looks at the events may take, however long those took


@pytest.fixture
def wake() -> Iterator[tuple[int, int]]:
    """Two ends of a pipe: what is written to the second makes the first readable."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def until_idle(probe: TurnProbe) -> int:
    """Calls of the loop until nothing is left."""
    for calls in range(1, 1000):
        probe.run()
        if not select.select([probe.fileno()], [], [], 0)[0]:
            return calls
    raise AssertionError("there is no end to it")


def turns(probe: TurnProbe) -> list[object]:
    return [name for kind, name in probe.log if kind == "turn"]


def test_events_come_between_dear_turns(wake: tuple[int, int]) -> None:
    """Nobody waits for more than one turn of somebody else's."""
    probe = TurnProbe()
    probe.watch("established", wake[0])
    for number in range(20):
        probe.queue(number, DEAR, wakes=wake[1])
    until_idle(probe)
    # Each write is a new edge.
    assert probe.log == [one for number in range(20) for one in (("turn", number), ("event", "established"))]


def test_cheap_turns_share_a_look_at_the_events(wake: tuple[int, int]) -> None:
    probe = TurnProbe()
    probe.watch("established", wake[0])
    for number in range(200):
        probe.queue(number, wakes=wake[1])
    until_idle(probe)
    assert turns(probe) == list(range(200))
    assert probe.log.count(("event", "established")) < 200


def test_who_has_begun_goes_first_and_leaves_some_time(wake: tuple[int, int]) -> None:
    probe = TurnProbe()
    probe.watch("established", wake[0])
    for number in range(10):
        probe.queue(("fresh", number), DEAR)
        probe.queue(("begun", number), DEAR, begun=True)
    until_idle(probe)
    assert turns(probe) == [(kind, number) for number in range(10) for kind in ("begun", "fresh")]


def test_a_handler_has_one_turn_and_a_dropped_one_has_none() -> None:
    probe = TurnProbe()
    for name in ("a", "b", "c"):
        for _ in range(3):
            probe.queue(name)
    probe.queue("a", begun=True)
    probe.drop("b")
    until_idle(probe)
    assert probe.log == [("turn", "a"), ("turn", "c")]
    probe.queue("a")
    probe.run()
    assert turns(probe) == ["a", "c", "a"]


def test_the_loop_is_given_back_while_work_is_left() -> None:
    probe = TurnProbe()
    for number in range(40):
        probe.queue(number, DEAR)
    probe.run()
    assert 0 < len(turns(probe)) < 40
    assert until_idle(probe) > 1
    assert turns(probe) == list(range(40))


def test_work_queued_outside_of_the_loop_wakes_it() -> None:
    probe = TurnProbe()
    probe.queue("one")
    probe.settle()
    assert select.select([probe.fileno()], [], [], 10)[0]
    until_idle(probe)
    assert turns(probe) == ["one"]


@pytest.mark.parametrize("count", [1, 64, 65, 1000])
def test_queues_grow_with_the_order_kept(count: int) -> None:
    probe = TurnProbe()
    for number in range(40):
        probe.queue(("before", number))
    until_idle(probe)
    probe.log.clear()
    for number in range(count):
        probe.queue(number, begun=number % 2 == 1)
    until_idle(probe)
    done = turns(probe)
    assert [n for n in done if isinstance(n, int) and n % 2] == list(range(1, count, 2))
    assert [n for n in done if isinstance(n, int) and not n % 2] == list(range(0, count, 2))


def test_what_was_dropped_is_let_go_of() -> None:
    """The queues hold a reference: with the last of them the work is released, also where no turn comes any more."""

    class Name:
        pass

    name = Name()
    gone = weakref.ref(name)
    probe = TurnProbe()
    probe.queue(name)
    probe.drop(name)
    del name
    gc.collect()
    assert gone() is not None
    probe.settle()
    gc.collect()
    assert gone() is None
    with contextlib.suppress(BlockingIOError):
        until_idle(probe)
    assert not turns(probe)


def looks(probe: TurnProbe, wake: tuple[int, int]) -> list[int]:
    """How many events each of 20 calls of the loop meets, where every event is followed by another one at once."""
    probe.watch("busy", wake[0], echo=wake[1])
    os.write(wake[1], b"x")
    found = []
    for _ in range(20):
        probe.log.clear()
        probe.run()
        found.append(len(probe.log))
        os.read(wake[0], 65536)
        os.write(wake[1], b"x")
    return found


def test_events_that_follow_at_once_are_waited_for(wake: tuple[int, int]) -> None:
    probe = TurnProbe()
    probe.stay()
    assert max(looks(probe, wake)) > 1


def test_the_loop_of_a_user_is_given_back(wake: tuple[int, int]) -> None:
    assert looks(TurnProbe(), wake) == [1] * 20


def test_nothing_is_waited_for_while_the_outer_loop_has_an_answer(wake: tuple[int, int]) -> None:
    """A verdict on a password, say: the rest of the 10 ms would be its request's."""
    probe = TurnProbe()
    probe.stay(awaited=1)
    assert looks(probe, wake) == [1] * 20
