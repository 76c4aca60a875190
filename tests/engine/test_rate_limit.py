"""The cell rate algorithm: known traces, a slow oracle, exactness over processes, and what a full table does."""

from __future__ import annotations

import multiprocessing
from multiprocessing.queues import Queue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb._core.region import Region
from fastlb.engine.holds import Holds
from fastlb.engine.rate_limit import RateLimits, RateRule


def limiter(rate: float, burst: int, **options: object) -> RateLimits:
    return RateLimits([RateRule("test", rate, burst, **options)])


def test_the_published_trace() -> None:
    """10 a second, burst 5: eight at once, then at 0.1, 0.15, 0.2 and 1.0 s."""
    one = limiter(10, 5)
    at_once = [one.check("k", 0.0) for _ in range(8)]
    assert [ok for ok, _, _ in at_once] == [True] * 6 + [False] * 2
    assert [remaining for _, remaining, _ in at_once[:6]] == [5, 4, 3, 2, 1, 0]
    assert at_once[6][2] == 1  # Retry-After in whole seconds, rounded up
    assert one.check("k", 0.1)[:2] == (True, 0)
    assert one.check("k", 0.15)[0] is False
    assert one.check("k", 0.2)[:2] == (True, 0)
    assert one.check("k", 1.0)[:2] == (True, 5)


def test_retry_after_tells_when() -> None:
    one = limiter(1 / 60, 0)
    assert one.check("k", 5.0)[0]
    assert one.check("k", 6.0) == (False, 0, 59)
    assert not one.check("k", 64.9)[0]
    assert one.check("k", 65.0)[0]


class Oracle:
    """A token bucket, the other way of saying the same."""

    def __init__(self, rate: int, burst: int) -> None:
        self.rate, self.size = rate, burst + 1
        self.spent = 0  # in units of 1/1000 of a token
        self.at = 0

    def check(self, ms: int) -> bool:
        self.spent = max(0, self.spent - (ms - self.at) * self.rate)
        self.at = ms
        if self.spent + 1000 > self.size * 1000:
            return False
        self.spent += 1000
        return True


@given(
    rate=st.sampled_from([1, 2, 5, 10, 50, 1000]),
    burst=st.integers(0, 20),
    steps=st.lists(st.integers(0, 400), min_size=1, max_size=80),
)
def test_it_is_a_token_bucket(rate: int, burst: int, steps: list[int]) -> None:
    one, oracle, now = limiter(rate, burst), Oracle(rate, burst), 1000
    oracle.at = now
    for step in steps:
        now += step
        assert one.check("k", now / 1000)[0] is oracle.check(now)


def test_a_rate_of_years_does_not_wrap() -> None:
    one = limiter(1 / 86400, 1_000_000)
    assert all(one.check("k", 1e6)[0] for _ in range(100))


def test_keys_and_rules_are_counted_apart() -> None:
    one = limiter(1, 0)
    assert [one.check(k, 1.0)[0] for k in ("a", "b", "a", "b", "c")] == [True, True, False, False, True]


def test_a_full_table_grows_laxer_and_never_stricter() -> None:
    one = RateLimits([RateRule("test", 1, 0)], slots=16)
    # A hundred keys in sixteen slots: none may be refused for what another one did.
    for round_ in range(3):
        for k in range(100):
            ok = one.check(f"key-{k}", 10.0 * round_)[0]
            assert ok, f"key-{k} is refused at its first request in ten seconds"


def test_wrong_rules_are_named() -> None:
    for wrong in ({"rate": 0}, {"rate": -1}, {"rate": 1, "prefix4": 33}, {"rate": 1, "key": ("ipp",)}):
        with pytest.raises(ValueError, match=r"rate|prefix|key"):
            RateRule("test", **wrong)


def _hammer(fd: int, tries: int, start: object, result: Queue[int]) -> None:
    one = RateLimits([RateRule("test", 1e-6, 999)], Region.attach(fd))
    start.wait()  # type: ignore[attr-defined]
    result.put(sum(one.check("k", 1.0)[0] for _ in range(tries)))


def test_over_processes_exactly_the_burst_passes() -> None:
    region = Region.create(shared=True, slots=1)
    context = multiprocessing.get_context("fork")
    start, result = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_hammer, args=(region.fd, 1000, start, result)) for _ in range(4)]
    for w in workers:
        w.start()
    passed = [result.get(timeout=60) for _ in workers]
    for w in workers:
        w.join(timeout=60)
    assert sum(passed) == 1000, passed


def _race_for_new_keys(fd: int, worker: int, keys: int, start: object, result: Queue[int]) -> None:
    one = RateLimits([RateRule("test", 1e-6, 0)], Region.attach(fd), worker=worker)
    start.wait()  # type: ignore[attr-defined]
    result.put(sum(one.check(f"k{i}", 1.0)[0] for i in range(keys)))


def test_a_new_key_is_entered_once_by_all_processes() -> None:
    """All processes meet each key at nearly the same time, and its one request passes once."""
    region = Region.create(shared=True, slots=4)
    context = multiprocessing.get_context("fork")
    start, result = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_race_for_new_keys, args=(region.fd, w, 5000, start, result)) for w in range(4)]
    for w in workers:
        w.start()
    passed = [result.get(timeout=60) for _ in workers]
    for w in workers:
        w.join(timeout=60)
    assert sum(passed) == 5000, passed


def test_bytes_leave_a_debt() -> None:
    """A kilobyte a second, ten at once: who has something left is let in, and pays for all of it afterwards."""
    one = limiter(1024, 10 * 1024 - 1, of="bytes")
    assert one.settle("k", 100.0, 9 * 1024) == (True, 10240, 0)
    assert one.settle("k", 100.0, 5 * 1024) == (True, 1024, 0)
    assert one.settle("k", 100.0, 1) == (False, 0, 5)  # four kilobytes too many, and one byte must be left
    assert one.settle("k", 103.9, 1)[0] is False
    assert one.settle("k", 104.1, 1)[0] is True


def test_header_fields() -> None:
    assert limiter(100, 50, label="few").header("k", 1.0) == (
        b'RateLimit-Policy: "few";q=100;w=1\r\nRateLimit: "few";r=50;t=1\r\n'
    )
    slow = limiter(5 / 60, 0, span=60)
    assert slow.header("k", 1.0) == b'RateLimit-Policy: "1";q=5;w=60\r\nRateLimit: "1";r=0;t=12\r\n'
    assert slow.header("k", 7.0) == b'RateLimit-Policy: "1";q=5;w=60\r\nRateLimit: "1";r=0;t=6\r\n'
    at_once = RateLimits([RateRule("test", 3, of="concurrent")])
    assert at_once.header("k", 1.0) == (b'RateLimit-Policy: "1";q=3;qu="concurrent-requests"\r\nRateLimit: "1";r=2\r\n')
    separate = RateLimits([RateRule("test", 1, 4)], fields="separate")
    assert separate.header("k", 1.0) == b"RateLimit-Limit: 5\r\nRateLimit-Remaining: 4\r\nRateLimit-Reset: 1\r\n"
    assert RateLimits([RateRule("test", 1, dry_run=True)]).header("k", 1.0) == b""


KEYS = [n * 0x9E3779B97F4A7C15 % 2**64 for n in range(1, 21)]


def _take_at_once(fd: int, worker: int, start: object, result: Queue[list[int]], stay: object) -> None:
    one = Holds(Region.attach(fd), worker)
    start.wait()  # type: ignore[attr-defined]
    result.put([one.at_once(key, 1000, 1000) for key in KEYS])
    stay.wait()  # type: ignore[attr-defined]


def test_at_once_is_exact_over_processes_and_given_back() -> None:
    region = Region.create(shared=True, slots=5)
    context = multiprocessing.get_context("fork")
    start, stay, result = context.Barrier(4), context.Barrier(5), context.Queue()
    workers = [
        context.Process(target=_take_at_once, args=(region.fd, w, start, result, stay)) for w in range(4)
    ]  # fmt: skip
    for w in workers:
        w.start()
    passed = [result.get(timeout=60) for _ in workers]
    assert [sum(of) for of in zip(*passed, strict=True)] == [1000] * 20
    stay.wait()
    for w in workers:
        w.join(timeout=60)
    mine = Holds(region, 4)
    assert mine.at_once(KEYS[0], 1000) == 0
    for slot in range(4):
        region.begin_worker(slot)
        region.reap(slot)
    assert [mine.at_once(key, 1000, 1001) for key in KEYS] == [1000] * 20


def test_a_full_bucket_lets_through_uncounted() -> None:
    """Nine keys of one bucket of eight: the ninth finds no room, and is not refused either."""
    one = Holds()
    keys = [(n << 40) | 7 for n in range(1, 10)]
    assert [one.at_once(key, 1, 5) for key in keys] == [1] * 8 + [0]
