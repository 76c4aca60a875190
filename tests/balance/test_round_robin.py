"""Round robin orders: known sequences, oracles, deviation, long periods."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.balance.probe import RAMP, Probe
from fastlb.balance.weighted_round_robin import eevdf_order, smooth_order
from tests.oracle import orders

weight_lists = st.lists(st.integers(1, 20), min_size=1, max_size=8)


def letters(order: list[int]) -> str:
    return "".join("abcdefgh"[i] for i in order)


def probe(weights: list[int], shared: bool = True) -> Probe:
    return Probe("weighted_round_robin", [(f"s{i}", w) for i, w in enumerate(weights)], shared=shared)


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ([5, 1, 1], "aabacaa"),
        ([3, 2, 1], "abacba"),
        ([4, 2, 1], "abacaba"),
        ([5, 3, 2], "abcaabacba"),
        ([50, 30, 20], "abcaabacba"),
        ([1, 2, 3, 4], "dcbdacdbcd"),
        ([10, 1, 1, 1], "aaabaacaadaaa"),
        ([2, 3], "babab"),
        ([7, 1], "aaaabaaa"),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_published_smooth_sequences(weights: list[int], order: str, shared: bool) -> None:
    assert letters(probe(weights, shared).select_many(2 * len(order))) == 2 * order


@given(weight_lists)
def test_smooth_order_is_nginx_s(weights: list[int]) -> None:
    oracle = orders.SmoothRoundRobin(weights)
    assert smooth_order(weights) == [oracle.pick() for _ in range(sum(weights))]


def test_eevdf_known_sequences() -> None:
    assert letters(eevdf_order([5, 1, 1])) == "abaacaa"
    heavy = eevdf_order([100] + [1] * 100)
    assert heavy[:6] == [0, 1, 0, 2, 0, 3]
    assert max(len(run) for run in "".join("h" if i == 0 else " " for i in heavy).split()) <= 2


@given(weight_lists)
def test_eevdf_order_is_by_its_definition_and_never_a_turn_off(weights: list[int]) -> None:
    order = eevdf_order(weights)
    assert order == orders.eevdf(weights, sum(weights))
    assert orders.deviation(order, weights) < 1


@given(weight_lists)
def test_every_period_gives_each_server_its_weight(weights: list[int]) -> None:
    counts = collections.Counter(probe(weights).select_many(3 * sum(weights)))
    assert counts == {i: 3 * w for i, w in enumerate(weights)}


@pytest.mark.parametrize(
    ("weights", "kept"),
    [
        ([5000, 4999, 4998], True),  # 14,997 turns, smooth order
        ([1 + i % 3 for i in range(1400)], True),  # 2,799 turns of many servers, smooth
        ([1 + i % 30 for i in range(2000)], True),  # 30,890 turns * 2,000 servers: EEVDF at once
        ([65535, 65533, 65531, 7], False),  # 196,606 turns: made turn by turn, kept
        ([65535 - i for i in range(40)], False),  # 2.6 million: made turn by turn, not kept
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_long_periods_are_smooth(weights: list[int], kept: bool, shared: bool) -> None:
    order = probe(weights, shared).select_many(20_000)
    assert orders.deviation(order, weights) < (1.1 if kept or not shared else 2)


def test_a_long_period_repeats_exactly() -> None:
    weights = [20_001, 19_999, 3]
    p = probe(weights, shared=False)
    first = p.select_many(sum(weights))
    assert p.select_many(sum(weights)) == first
    assert collections.Counter(first) == dict(enumerate(weights))


def test_weights_change_between_two_picks() -> None:
    p = probe([1, 1, 1])
    p.select_many(7)
    p.write(1, weight=4)
    counts = collections.Counter(p.select_many(60))
    assert counts == {0: 10, 1: 40, 2: 10}
    p.write(1, weight=0)
    assert set(p.select_many(10)) == {0, 2}


def test_plain_round_robin_does_not_look_at_weights() -> None:
    p = Probe("round_robin", [("a", 9), ("b", 1), ("c", 3)])
    assert p.select_many(6) == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("algorithm", ["round_robin", "weighted_round_robin"])
def test_slow_start_takes_a_part_of_its_turns(algorithm: str) -> None:
    p = Probe(algorithm, [(f"s{i}", 1) for i in range(4)])
    p.write(3, ramp=RAMP // 4)
    share = collections.Counter(p.select_many(13_000))[3] / 13_000
    assert share == pytest.approx(0.25 / 3.25, rel=0.1)
