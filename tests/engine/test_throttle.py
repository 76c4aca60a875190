"""Bandwidth in simulated time: what passes when, alone and in turns with others."""

from __future__ import annotations

import heapq

import pytest

from fastlb.engine.holds import Holds
from fastlb.engine.throttle import Throttle, trial_throttle

RUN = 0.064  # seconds that are read at once
SLACK = 0.128  # that are made up for after a pause
TICK = 0.032  # of the timer wheel


def limited(holds: Holds, *limits: tuple[str, float, int]) -> Throttle:
    return trial_throttle(limits, holds)


def passed(one: Throttle, seconds: float, *, begin: float = 10.0, late: float = 0.0) -> int:
    """Bytes read in a time from a source that always has more; timers come up to `late` after what they were set to."""
    now, total = begin, 0
    while now < begin + seconds:
        n, due = one.ask(now, 262144)
        total += n
        if not n:
            now = max(now, due) + late + 1e-6
    return total


@pytest.mark.parametrize("rate", [100, 40_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("late", [0.0, TICK, 2 * TICK])
def test_the_average_is_the_rate(rate: int, late: float) -> None:
    total = passed(limited(Holds(), ("", rate, 0)), 5.0, late=late)
    assert 4.9 * rate <= total <= (5.0 + SLACK + RUN) * rate + 1


def test_a_pause_is_not_saved_up() -> None:
    one = limited(Holds(), ("", 1000, 0))
    passed(one, 1.0)
    assert passed(one, 1.0, begin=1000.0) <= (1.0 + SLACK + 2 * RUN) * 1000  # a run was begun before


def test_the_first_bytes_pass_without() -> None:
    one = limited(Holds(), ("", 1000, 500_000))
    assert sum(one.ask(10.0, 262144)[0] for _ in range(2)) == 500_000
    assert one.ask(10.0, 262144)[0] <= 1000 * (SLACK + RUN)


def test_of_several_limits_the_slowest_rules() -> None:
    one = limited(Holds(), ("", 50_000, 0), ("all", 20_000, 0), ("", 30_000, 0))
    assert 4.9 * 20_000 <= passed(one, 5.0) <= (5.0 + SLACK + RUN) * 20_000


def test_who_shares_a_rate_takes_turns() -> None:
    """Nobody is left behind, whoever begins and however late timers are: all get the same, and together the rate."""
    holds, rate, n = Holds(), 100_000, 7
    got = [0] * n
    waiting = [(10.0 + i * 1e-4, i) for i in range(n)]
    ones = [limited(holds, ("k", rate, 0)) for _ in range(n)]
    while waiting:
        now, i = heapq.heappop(waiting)
        if now > 40.0:
            continue
        read, due = ones[i].ask(now, 262144)
        got[i] += read
        heapq.heappush(waiting, (now if read else max(now, due) + (i % 3) * TICK / 2 + 1e-6, i))
    assert 29.0 * rate <= sum(got) <= (30.0 + SLACK + n * RUN) * rate
    assert max(got) - min(got) <= 4 * RUN * rate


def test_short_answers_are_held_to_the_shared_rate_too() -> None:
    """A thousand requests a second of 1,000 bytes each, at a rate for a tenth of them: what a run has over is given
    back when its request ends, and no bytes pass that are not paid for."""
    holds, rate = Holds(), 100_000
    done = 0
    waiting = [(10.0 + i / 1000, i) for i in range(5000)]
    live: dict[int, Throttle] = {}
    heapq.heapify(waiting)
    while waiting:
        now, i = heapq.heappop(waiting)
        if now > 15.0:
            break
        one = live.setdefault(i, limited(holds, ("k", rate, 0)))
        read, due = one.ask(now, 1000)
        if read:
            assert read == 1000
            done += 1
            del live[i], one
        else:
            heapq.heappush(waiting, (max(now, due) + 1e-6, i))
    assert 4.5 * rate <= done * 1000 <= (5.0 + SLACK + RUN) * rate


def test_what_was_not_used_is_given_back() -> None:
    holds = Holds()
    first = limited(holds, ("k", 1000, 0))
    assert [first.ask(10.0, 64)[0] for _ in range(3)] == [64, 64, 64]  # all that comes at once
    waiting = limited(holds, ("k", 1000, 0))
    n, due = waiting.ask(10.0, 64)
    assert (n, due) == (0, pytest.approx(10.064))
    assert limited(holds, ("k", 1000, 0)).ask(10.0, 64)[1] == pytest.approx(10.128)
    assert limited(holds, ("k", 1000, 0)).ask(10.0, 64)[1] == pytest.approx(10.128)  # the one before has gone again
    del waiting
    assert limited(holds, ("k", 1000, 0)).ask(10.0, 64)[1] == pytest.approx(10.064)
