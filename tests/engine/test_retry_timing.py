"""When second copies are sent, and how long connections are kept: arithmetic of the engine."""

from __future__ import annotations

import pytest

from fastlb.engine.hedge import Hedge
from fastlb.engine.server import learned

MS100 = 116  # bucket of 98304..106495 microseconds
MS1 = 63  # of 960..1023 microseconds


def test_too_few_requests_make_no_percentile() -> None:
    assert Hedge.probe(0.95, [(0, {MS1: 99}), (1000, {MS1: 0}), (2000, {MS1: 1})]) == [0, 0, 2]


def test_the_percentile_is_where_so_many_had_their_answer() -> None:
    assert Hedge.probe(0.95, [(5_000, {MS1: 950, MS100: 50})]) == [2]
    assert Hedge.probe(0.95, [(5_000, {MS1: 949, MS100: 51})]) == [107]


def test_it_is_looked_at_once_a_second_and_forgets_what_is_old() -> None:
    steps: list[tuple[int, dict[int, int]]] = [
        (10_000, {MS100: 1000}),
        (10_999, {MS1: 99_000}),
        (11_000, {}),
        (20_000, {MS100: 100}),
        (30_000, {MS100: 100}),
        (30_999, {}),
        (31_000, {}),
    ]
    assert Hedge.probe(0.95, steps) == [107, 107, 2, 2, 2, 2, 107]


@pytest.mark.parametrize(
    ("closes", "known"),
    [
        ([5000, 5010, 5005], 4688),  # 5 s, less a sixteenth
        ([5000, 2000, 5005], 0),  # they do not agree
        ([1000, 5000, 5005, 5010], 4688),
        ([300, 310, 305], 236),
        ([2, 1, 2], 1),
    ],
)
def test_three_closes_after_the_same_time_tell_how_long_a_server_keeps_connections(
    closes: list[int], known: int
) -> None:
    steps = [(10_000 * (i + 1), unused) for i, unused in enumerate(closes)]
    assert learned(steps)[-1] == known


def test_connections_closed_at_one_moment_are_a_restart() -> None:
    assert learned([(10_000, 3000), (10_001, 3000), (10_002, 3000)]) == [0, 0, 0]


def test_a_server_may_say_it_itself() -> None:
    assert learned([b"timeout=5, max=100"]) == [4688]
    assert learned([b"max=100, timeout=20"]) == [18750]
    assert learned([b"timeout=", b"max=7", b""]) == [0, 0, 0]
    assert learned([b"timeout=5", (10_000, 100), (20_000, 100), (30_000, 100)])[-1] == 4688
