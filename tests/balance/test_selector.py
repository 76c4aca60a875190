"""What is true around every algorithm: books, limits, tiers, panic, tried lists."""

from __future__ import annotations

import collections

from fastlb.balance import probe
from fastlb.balance.probe import Probe


def group(n: int, algorithm: str = "two_choices", backups: int = 0, **options: object) -> Probe:
    servers = [(f"10.0.0.{i}:80", 1, i >= n) for i in range(n + backups)]
    return Probe(algorithm, servers, **options)


def test_round_robin_in_order() -> None:
    assert group(3, "round_robin").select_many(7) == [0, 1, 2, 0, 1, 2, 0]


def test_two_choices_keeps_close_to_the_mean() -> None:
    p = group(20)
    counts = collections.Counter(p.select_many(20 * 100))
    assert max(counts.values()) <= 103
    assert min(counts.values()) >= 90


def test_take_and_release_move_counter_and_ledger() -> None:
    p = group(1, "round_robin")
    p.select_many(3)
    assert (p.read(0)["inflight"], p.ledger(0), p.read(0)["picks"]) == (3, [3], 3)
    p.release(0)
    p.release(0, probe.FAILED)
    assert (p.read(0)["inflight"], p.ledger(0)) == (1, [1])
    assert (p.read(0)["failures"], p.read(0)["failures_in_a_row"]) == (1, 1)
    p.release(0)
    assert p.read(0)["failures_in_a_row"] == 0
    assert (p.read(0)["inflight"], p.ledger(0)) == (0, [0])


def test_limit_is_never_passed_and_says_full() -> None:
    p = group(2, "round_robin")
    p.write(0, limit=2)
    p.write(1, limit=1)
    assert sorted(p.select_many(3)) == [0, 0, 1]
    assert p.select() == probe.FULL
    assert [p.read(i)["inflight"] for i in (0, 1)] == [2, 1]
    p.release(1)
    assert p.select() == 1


def test_backups_only_without_primaries() -> None:
    p = group(2, "round_robin", backups=1)
    assert set(p.select_many(10)) == {0, 1}
    p.write(0, state=0)
    assert set(p.select_many(4)) == {1}
    p.write(1, state=probe.UP | probe.EJECTED)
    assert set(p.select_many(4)) == {2}
    p.write(2, state=0)
    assert p.select() == probe.NONE


def test_tried_primaries_lead_to_a_backup() -> None:
    p = group(2, "round_robin", backups=1)
    assert p.select(tried=[0]) == 1
    assert p.select(tried=[0, 1]) == 2
    assert p.select(tried=[0, 1, 2]) == probe.NONE


def test_panic_uses_the_down_but_never_drained_or_maintained() -> None:
    p = group(5, "round_robin", panic_threshold=0.5)
    for slot in (0, 1):
        p.write(slot, state=0)
    assert set(p.select_many(9)) == {2, 3, 4}
    p.write(2, state=0)  # 2 of 5 left
    assert set(p.select_many(10)) == {0, 1, 2, 3, 4}
    p.write(3, state=probe.UP | probe.DRAIN)
    p.write(4, state=probe.UP | probe.MAINT)
    assert set(p.select_many(9)) == {0, 1, 2}
    p.write(0, weight=0)
    assert set(p.select_many(8)) == {1, 2}
