"""Failures by address: windows, limits, and that workers count them together."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from fastlb._core.region import Region
from fastlb.engine.failures import Failures
from fastlb.engine.holds import Holds

SECOND = 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 1000 * SECOND

    def __call__(self) -> int:
        return self.now


def test_they_are_counted_by_address_and_window() -> None:
    clock = Clock()
    failures = Failures(None, "a", 3, 60.0, clock)
    for _ in range(2):
        failures.failed(b"a")
    assert failures.closed(b"a") == 0
    failures.failed(b"a")
    clock.now += 20 * SECOND
    assert 39.9 < failures.closed(b"a") <= 40 and failures.closed(b"b") == 0
    failures.failed(b"a")  # one more does not make it longer
    assert 39.9 < failures.closed(b"a") <= 40
    clock.now += 40 * SECOND
    assert failures.closed(b"a") == 0
    failures.failed(b"a")
    assert failures.closed(b"a") == 0


def test_no_limit_closes_nobody_out() -> None:
    failures = Failures(None, "a", 0, 60.0)
    for _ in range(100):
        failures.failed(b"a")
    assert failures.closed(b"a") == 0


def test_more_than_can_be_counted_stay_closed() -> None:
    failures = Failures(None, "a", 10**9, 60.0, Clock())
    for _ in range(70_000):
        failures.failed(b"a")
    assert failures.closed(b"a") > 0


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"\0" * 16]), st.integers(0, 4)), max_size=60))
def test_the_window_begins_with_the_first_failure(steps: list[tuple[bytes, int]]) -> None:
    """Against a model that keeps (how many, since when) by address; 5 s, 3 failures."""
    clock, model = Clock(), dict[bytes, tuple[int, int]]()
    failures = Failures(None, "a", 3, 5.0, clock)
    for address, seconds in steps:
        clock.now += seconds * SECOND
        count, since = model.get(address, (0, 0))
        if clock.now - since >= 5 * SECOND:
            count, since = 0, clock.now
        left = (since + 5 * SECOND - clock.now) / SECOND if count >= 3 else 0.0
        assert abs(failures.closed(address) - left) < 1e-3
        failures.failed(address)
        model[address] = (count + 1, since)


def test_workers_count_together_and_a_reload_forgets_nothing() -> None:
    region = Region.create(False, 4)
    clock = Clock()
    workers = [Failures(Holds(region, number), "auth staff", 10, 60.0, clock) for number in range(4)]
    for n in range(10):
        assert all(one.closed(b"a") == 0 for one in workers), n
        workers[n % 4].failed(b"a")
    assert all(one.closed(b"a") > 59.9 for one in workers)
    assert Failures(Holds(region, 0), "auth staff", 10, 60.0, clock).closed(b"a") > 59.9
    assert Failures(Holds(region, 0), "auth other", 10, 60.0, clock).closed(b"a") == 0


def test_many_threads_lose_no_count() -> None:
    failures = Failures(None, "a", 4000, 3600.0)

    def fail() -> None:
        for _ in range(999):
            failures.failed(b"a")

    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(3):
        failures.failed(b"a")
    assert failures.closed(b"a") == 0
    failures.failed(b"a")
    assert failures.closed(b"a") > 0
