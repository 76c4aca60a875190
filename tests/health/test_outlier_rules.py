"""The arithmetic of ejection against published tables and by property."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.health.outlier_rules import (
    ejection_time,
    latency_outliers,
    may_eject,
    success_outliers,
    success_threshold,
)


def test_envoys_example_of_the_threshold() -> None:
    rates = [50.0, 100.0, 100.0, 100.0, 100.0]
    assert statistics.fmean(rates) == 90
    assert statistics.pstdev(rates) == 20
    assert success_threshold(rates) == pytest.approx(52)


def test_who_is_below_the_threshold() -> None:
    assert success_outliers([0.5, 1, 1, 1, 1]) == [0]
    assert success_outliers([0.55, 1, 1, 1, 1]) == [0]  # mean .91, deviation .18, threshold .568
    assert success_outliers([1, 1, 1, 1, 1]) == []
    assert success_outliers([0.0, 0.0, 0.0, 0.0, 0.0]) == []
    # Below the deviation's threshold, yet not by enough to matter
    assert success_threshold([0.999, 1, 1, 1, 1]) > 0.999
    assert success_outliers([0.999, 1, 1, 1, 1]) == []
    assert success_outliers([*[1.0] * 18, 0.5, 0.3]) == [19, 18]  # the worst first


def test_one_slow_server_among_its_peers() -> None:
    assert latency_outliers([0.1, 0.1, 1.0], 3, 0.1) == [2]
    assert latency_outliers([0.1, 0.1, 0.3], 3, 0.1) == []  # exactly three times
    assert latency_outliers([0.01, 0.01, 0.09], 3, 0.1) == []  # below the floor
    assert latency_outliers([0.01, 1.0], 3, 0.1) == []  # two have no middle
    assert latency_outliers([], 3, 0.1) == []
    assert latency_outliers([9.0, 0.1, 5.0, 0.1, 0.1], 3, 0.1) == [0, 2]  # the slowest first
    assert latency_outliers([1.0, 1.0, 1.0, 0.01], 3, 0.1) == []  # one fast one makes nobody slow


@given(st.lists(st.floats(0.001, 60), min_size=3, max_size=30), st.integers(0, 29), st.floats(1, 1e6))
def test_how_slow_the_slowest_is_does_not_hide_another(times: list[float], which: int, more: float) -> None:
    """A mean would follow the outlier; the median does not."""
    found = set(latency_outliers(times, 3, 0.1))
    slowest = max(range(len(times)), key=lambda i: times[i])
    times[slowest] *= more
    assert found - {slowest} <= set(latency_outliers(times, 3, 0.1))


def test_length_of_ejections() -> None:
    assert [ejection_time(10, 300, n) for n in range(1, 9)] == [10, 20, 40, 80, 160, 300, 300, 300]
    assert ejection_time(10, 300, 10**9) == 300
    assert ejection_time(30, 30, 5) == 30


@pytest.mark.parametrize(
    ("total", "share", "most"),
    [
        (1, 0.5, 0), (2, 0.5, 1), (3, 0.5, 1), (4, 0.5, 2), (5, 0.5, 2), (10, 0.5, 5), (100, 0.5, 50),
        (9, 0.1, 0), (10, 0.1, 1), (19, 0.1, 1), (20, 0.1, 2),  # Envoy: none below ten servers
        (1, 1.0, 0), (2, 1.0, 1), (5, 1.0, 4),  # one always stays
        (100, 0.29, 29), (5, 0.0, 0),
    ],
)  # fmt: skip
def test_how_many_may_be_out(total: int, share: float, most: int) -> None:
    out = 0
    while may_eject(total, out, total - out, share):
        out += 1
    assert out == most


def test_the_only_one_that_takes_requests_stays() -> None:
    assert not may_eject(10, 0, 1, 1.0)  # nine are full of something else
    assert may_eject(10, 0, 2, 1.0)
