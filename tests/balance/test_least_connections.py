"""Least connections: exact in one process, by scan or samples over shared records."""

from __future__ import annotations

import collections
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.balance.probe import Probe
from tests.oracle import orders


def probe(weights: list[int], shared: bool) -> Probe:
    return Probe("least_connections", [(f"s{i}", w) for i, w in enumerate(weights)], shared=shared)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.lists(st.one_of(st.none(), st.integers(0, 10**6)), max_size=120),
)
def test_private_picks_are_the_oracle_s(weights: list[int], steps: list[int | None]) -> None:
    """None picks; a number releases one of what is in flight."""
    p, oracle = probe(weights, shared=False), orders.LeastConnections(weights)
    held: list[int] = []
    for step in steps:
        if step is None or not held:
            slot = p.select()
            assert slot == oracle.pick()
            held.append(slot)
        else:
            slot = held.pop(step % len(held))
            p.release(slot)
            oracle.release(slot)
    assert [p.read(i)["inflight"] for i in range(len(weights))] == oracle.load


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("n", [3, 50])
def test_levels_out(n: int, shared: bool) -> None:
    counts = collections.Counter(probe([1] * n, shared).select_many(10 * n))
    assert set(counts.values()) == {10}


def test_weights_level_the_ratio() -> None:
    for shared in (False, True):
        counts = collections.Counter(probe([5, 3, 2], shared).select_many(100))
        assert counts == {0: 50, 1: 30, 2: 20}


@pytest.mark.parametrize("shared", [False, True])
def test_idle_servers_are_used_evenly_by_weight(shared: bool) -> None:
    p = probe([4, 2, 1], shared)
    counts: collections.Counter[int] = collections.Counter()
    for _ in range(700):
        slot = p.select()
        counts[slot] += 1
        p.release(slot)
    assert {i: c / 100 for i, c in counts.items()} == pytest.approx({0: 4, 1: 2, 2: 1}, rel=0.02)


def test_over_shared_lines_others_requests_count() -> None:
    p = probe([1, 1, 1], shared=True)
    p.write(0, inflight=7)
    p.write(1, inflight=3)
    assert p.select_many(3) == [2, 2, 2]
    assert collections.Counter(p.select_many(9)) == {1: 4, 2: 5}


def test_large_shared_groups_stay_near_level() -> None:
    counts = collections.Counter(probe([1] * 1000, shared=True).select_many(20_000))
    assert len(counts) == 1000
    assert max(counts.values()) <= 22


def test_changes_of_the_set_keep_the_counts() -> None:
    rng = random.Random(5)
    p, weights = probe([1] * 30, shared=False), [1] * 30
    held = p.select_many(200)
    for _ in range(40):
        slot = rng.randrange(30)
        weights[slot] = rng.choice([0, 1, 2, 3])
        p.write(slot, weight=weights[slot])
        for _ in range(5):
            p.release(held.pop(rng.randrange(len(held))))
            loads = [p.read(i)["inflight"] for i in range(30)]
            slot = p.select()
            held.append(slot)
            best = min(loads[i] / weights[i] for i in range(30) if weights[i])
            assert loads[slot] / weights[slot] == best
    counts = collections.Counter(held)
    assert [p.read(i)["inflight"] for i in range(30)] == [counts[i] for i in range(30)]


def test_full_and_tried_best_lead_to_the_next_best() -> None:
    p = probe([1, 1, 1], shared=False)
    p.write(0, limit=1)
    assert p.select_many(3) == [0, 1, 2]
    p.release(1)
    assert p.select(tried=[1]) == 2
    assert p.select() == 1
