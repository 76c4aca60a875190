"""Random, two choices, least time: distributions, published values, behaviour over time."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.balance.least_time import peak_ewma
from fastlb.balance.probe import CANCELLED, FAILED, OK, Probe


def probe(algorithm: str, weights: list[int], **options: object) -> Probe:
    return Probe(algorithm, [(f"s{i}", w) for i, w in enumerate(weights)], **options)


def share_of(counts: collections.Counter[int], weights: list[int]) -> None:
    total, picks = sum(weights), sum(counts.values())
    for i, w in enumerate(weights):
        mean = picks * w / total
        assert abs(counts[i] - mean) < 5 * (mean * (1 - w / total)) ** 0.5 + 1, (i, counts[i], mean)


@given(st.lists(st.integers(1, 65535), min_size=1, max_size=30), st.integers(0, 2**64 - 1))
def test_random_is_by_weight(weights: list[int], seed: int) -> None:
    share_of(collections.Counter(probe("random", weights, seed=seed).select_many(2000)), weights)


def test_random_with_a_seed_repeats() -> None:
    one, two, other = (probe("random", [1] * 9, seed=s).select_many(50) for s in (7, 7, 8))
    assert one == two != other


def test_two_choices_takes_the_less_loaded_of_two() -> None:
    p = probe("two_choices", [1, 1])
    p.write(0, inflight=100)
    assert set(p.select_many(100)) == {1}  # both are looked at every time


@pytest.mark.parametrize("shared", [False, True])
def test_two_choices_gap_does_not_grow(shared: bool) -> None:
    for m in (1000, 10_000, 100_000):
        counts = collections.Counter(probe("two_choices", [1] * 100, shared=shared).select_many(m))
        assert max(counts.values()) - m / 100 < 5  # 1.9 on average; one choice: 8.8, 26 and 80


def test_two_choices_by_weight() -> None:
    weights = [1 + i % 4 for i in range(40)]
    counts = collections.Counter(probe("two_choices", weights).select_many(100 * sum(weights)))
    for i, w in enumerate(weights):
        assert counts[i] == pytest.approx(100 * w, rel=0.06)


def test_one_server() -> None:
    for algorithm in ("random", "two_choices", "least_time"):
        assert probe(algorithm, [3]).select_many(3) == [0, 0, 0]


def test_peak_ewma_values() -> None:
    assert peak_ewma([(0, 10), (1, 100)], 10, 1) == 100  # a peak counts at once
    assert peak_ewma([(0, 10), (1, 100)], 10, 11) == pytest.approx(36.7879, abs=1e-4)  # and decays unheard
    assert peak_ewma([(0, 10), (1, 100), (11, 10)], 10, 11) == pytest.approx(43.1091, abs=1e-4)
    assert peak_ewma([], 10, 5) == 0


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 10**9)), min_size=1, max_size=30))
def test_peak_ewma_is_the_definition(steps: list[tuple[int, int]]) -> None:
    from math import exp

    cost, now, last, samples = 0.0, 0, 0, []
    for gap, latency in steps:
        now += gap
        fade = exp(-(now - last) / 10_000)
        cost = float(latency) if not samples or latency > cost * fade else latency * (1 - fade) + cost * fade
        samples.append((now / 1000, latency))
        last = now
    assert peak_ewma([(round(t * 1000) / 1000 + 1e-6, v) for t, v in samples], 10, now / 1000 + 1e-6) == pytest.approx(
        cost, rel=1e-4
    )


def test_least_time_avoids_the_slow_and_tries_it_again() -> None:
    p = probe("least_time", [1, 1])
    for slot, latency in ((0, 1_000), (1, 100_000)):
        assert p.take(slot)
        p.release(slot, OK, latency, now_ms=1000)
    picked = [p.select(now_ms=1000) for _ in range(50)]
    assert set(picked) == {0}
    for slot in picked:
        p.release(slot, OK, 1_000, now_ms=1000)
    # 46 s later the slow one's estimate has fallen to 1 ms while the other's was renewed
    for now in range(2_000, 60_000, 1_000):
        slot = p.select(now_ms=now)
        p.release(slot, OK, 1_000 if slot == 0 else 100_000, now_ms=now)
        if slot == 1:
            assert now > 30_000
            break
    else:
        pytest.fail("the slow server was never tried again")


def test_least_time_weighs_what_waits() -> None:
    p = probe("least_time", [1, 1])
    for slot, latency in ((0, 1_000), (1, 3_500)):
        assert p.take(slot)
        p.release(slot, OK, latency, now_ms=10)
    assert collections.Counter(p.select(now_ms=10) for _ in range(4)) == {0: 3, 1: 1}


def test_least_time_with_no_history_is_tried_once_at_a_time() -> None:
    p = probe("least_time", [1, 1])
    assert p.take(0)
    p.release(0, OK, 5_000, now_ms=1)
    assert p.select(now_ms=1) == 1  # never heard of, idle: free
    assert p.select(now_ms=1) == 0  # never heard of, busy: dear


@pytest.mark.parametrize("use", [FAILED, CANCELLED])
def test_least_time_learns_from_answers_only(use: int) -> None:
    p = probe("least_time", [1])
    assert p.take(0)
    p.release(0, use, 10, now_ms=1)
    assert p.read(0)["latency"] == 0
