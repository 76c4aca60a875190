"""The adaptive limit: figures of Netflix's Gradient2, and its bounds."""

from __future__ import annotations

import pytest

from fastlb.control.counters import REQUESTS, RESPONSE_US
from fastlb.control.group_limits import limit
from fastlb.control.region import Region
from fastlb.control.slots import Slots
from fastlb.health.adaptive import Adaptive, gradient, next_limit, next_long
from fastlb.spec import AdaptiveConcurrency, Address, Backend, Server, Spec

RULES = AdaptiveConcurrency(100, 20, 200)


@pytest.mark.parametrize(("times", "expected"), [(1.0, 100.8), (1.5, 100.8), (2.0, 95.8), (3.0, 90.8), (30.0, 90.8)])
def test_the_limit_follows_the_gradient(times: float, expected: float) -> None:
    assert next_limit(100, 0.010, 0.010 * times, 100, RULES) == pytest.approx(expected)


def test_it_does_not_move_while_half_of_it_is_idle() -> None:
    assert next_limit(100, 0.01, 0.01, 49, RULES) == 100
    assert next_limit(100, 0.01, 0.01, 50, RULES) == pytest.approx(100.8)


def test_it_keeps_its_bounds() -> None:
    assert next_limit(200, 0.01, 0.01, 200, RULES) == 200
    assert next_limit(20, 0.01, 1.0, 20, RULES) == 20


def test_the_gradient_is_clamped() -> None:
    assert [gradient(10, short) for short in (1, 15, 20, 30, 1000)] == [1.0, 1.0, 0.75, 0.5, 0.5]


def test_the_slow_average_falls_faster_than_it_rises() -> None:
    assert next_long(0.0, 0.02) == 0.02
    assert next_long(0.01, 0.02) == pytest.approx(0.01 + 0.01 * 2 / 601)
    assert next_long(0.05, 0.01) == pytest.approx((0.05 - 0.04 * 2 / 601) * 0.95)


def test_the_limit_shrinks_under_load_and_comes_back() -> None:
    """A server that answers in 10 ms up to 50 requests at a time, and in proportion later above."""
    backend = Backend("app", (Server("s", Address("127.0.0.1", 1)),), adaptive_concurrency=RULES)
    spec = Spec((), (backend,))
    assignment = Slots().assign(spec)
    region = Region.create(False)
    region.begin_worker(0)
    index = assignment.backends["app"]
    region.assign_group(index)
    adaptive = Adaptive(region)
    adaptive.apply(spec, assignment)
    assert limit(region, index) == 100

    def second(load: int) -> None:
        inflight = min(load, limit(region, index))
        time_us = 10_000 * max(1, inflight / 50)
        ended = round(inflight * 1e6 / time_us)
        region.count(0, "group", index, REQUESTS, ended)
        region.count(0, "group", index, RESPONSE_US, round(ended * time_us))
        adaptive.inflight = lambda group: inflight  # type: ignore[method-assign]
        adaptive.sweep()

    for _ in range(60):
        second(50)
    for _ in range(120):
        second(1000)
    assert 50 <= limit(region, index) <= 110
    adaptive.apply(Spec((), (Backend("app", backend.servers),)), assignment)
    assert limit(region, index) == 0
