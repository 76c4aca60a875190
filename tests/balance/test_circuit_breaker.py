"""Circuit breakers in simulated time, around servers, and over several processes."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.balance.probe import BREAKER_SIZE, FULL, NONE, OPEN, TRIAL, BreakerProbe, Probe, is_trial
from fastlb.spec import CircuitBreaker
from tests.helpers import ROOT

START = 1_000_000  # ms; the start of a bucket
# Hystrix's defaults: 20 requests in 10 s, half of them failed, 5 s; and one trial
HYSTRIX = CircuitBreaker(errors=0.5, min_requests=20, window=10, open=5, trials=1, trial_time=10)


def test_it_opens_at_the_share_and_not_below() -> None:
    breaker = BreakerProbe(HYSTRIX)
    breaker.run(START, good=11, bad=9)
    assert breaker.state == "closed"
    breaker.run(START, bad=1)  # 10 of 21
    assert breaker.state == "closed"
    breaker.run(START, bad=1)  # 11 of 22
    assert (breaker.state, breaker.opened, breaker.until) == ("open", 1, START + 5000)


def test_it_needs_enough_requests() -> None:
    breaker = BreakerProbe(HYSTRIX)
    breaker.run(START, bad=19)
    assert breaker.state == "closed"
    breaker.run(START, good=1)  # the 20th, however it ends
    assert breaker.state == "open"


@pytest.mark.parametrize(("later", "state"), [(9_999, "open"), (10_000, "closed"), (1_000_000_000, "closed")])
def test_the_window_rolls_in_tenths(later: int, state: str) -> None:
    breaker = BreakerProbe(HYSTRIX)
    breaker.run(START, bad=19)
    breaker.run(START + later, bad=1)
    assert breaker.state == state


def test_each_tenth_leaves_by_itself() -> None:
    breaker = BreakerProbe(HYSTRIX)
    for second in range(10):
        breaker.run(START + second * 1000, good=1, bad=1 if second < 9 else 0)  # 19 in all
    breaker.run(START + 10_000, bad=1)  # the first two left: 18, and 9 of them failed
    assert breaker.state == "closed"
    breaker.run(START + 10_000, bad=2)
    assert breaker.state == "open"


def test_open_lets_nothing_pass_for_its_time_and_then_one() -> None:
    breaker = BreakerProbe(HYSTRIX)
    breaker.run(START, bad=20)
    assert [breaker.admit(START + t) for t in (0, 1, 4_999)] == [0, 0, 0]
    assert breaker.retry_after(START + 1) == 5
    assert breaker.retry_after(START + 4_001) == 1
    permit = breaker.admit(START + 5_000)
    assert is_trial(permit)
    assert breaker.state == "half-open"
    assert [breaker.admit(START + 5_000 + t) for t in (0, 100)] == [0, 0]
    breaker.ended(permit, START + 5_200)
    assert breaker.state == "closed"
    breaker.run(START + 5_200, bad=19)  # the window began anew
    assert breaker.state == "closed"
    breaker.run(START + 5_200, bad=1)
    assert breaker.state == "open"


def test_a_failed_trial_starts_the_time_again() -> None:
    breaker = BreakerProbe(HYSTRIX)
    breaker.run(START, bad=20)
    permit = breaker.admit(START + 5_000)
    breaker.ended(permit, START + 6_000, failed=True)
    assert (breaker.state, breaker.until, breaker.opened) == ("open", START + 11_000, 2)


def test_the_share_of_the_trials_decides() -> None:
    rules = replace(HYSTRIX, trials=10)
    breaker = BreakerProbe(rules)
    breaker.run(START, bad=20)
    now = START + 5_000
    permits = [breaker.admit(now) for _ in range(11)]
    assert [is_trial(p) for p in permits] == [True] * 10 + [False]
    for permit in permits[:5]:
        breaker.ended(permit, now)
    for permit in permits[5:9]:
        breaker.ended(permit, now, failed=True)
    assert breaker.state == "half-open"  # 4 of 10 failed so far
    breaker.ended(permits[9], now)
    assert breaker.state == "closed"


def test_enough_failures_decide_before_all_have_ended() -> None:
    breaker = BreakerProbe(replace(HYSTRIX, trials=10))
    breaker.run(START, bad=20)
    permits = [breaker.admit(START + 5_000) for _ in range(10)]
    for permit in permits[:5]:
        breaker.ended(permit, START + 5_100, failed=True)
    assert breaker.state == "open"
    for permit in permits[5:]:  # of a period that is over: nothing follows from them
        breaker.ended(permit, START + 5_200)
    assert (breaker.state, breaker.until) == ("open", START + 10_100)


def test_a_trial_given_back_can_be_made_again() -> None:
    breaker = BreakerProbe(HYSTRIX)
    breaker.run(START, bad=20)
    permit = breaker.admit(START + 5_000)
    assert breaker.admit(START + 5_000) == 0
    breaker.returned(permit)
    again = breaker.admit(START + 5_001)
    assert is_trial(again)
    breaker.ended(again, START + 5_002)
    assert breaker.state == "closed"


def test_a_trial_that_never_ends_counts_as_failed() -> None:
    breaker = BreakerProbe(HYSTRIX)
    breaker.run(START, bad=20)
    assert breaker.admit(START + 5_000)
    assert not breaker.tick(START + 14_999)
    assert breaker.tick(START + 15_000)
    assert (breaker.state, breaker.until) == ("open", START + 20_000)


@pytest.mark.parametrize(("good", "hanging", "state"), [(2, 0, "closed"), (3, 2, "closed"), (2, 2, "open")])
def test_too_few_trials_decide_when_their_time_is_over(good: int, hanging: int, state: str) -> None:
    breaker = BreakerProbe(replace(HYSTRIX, trials=10))
    breaker.run(START, bad=20)
    permits = [breaker.admit(START + 5_000) for _ in range(good + hanging)]
    for permit in permits[:good]:
        breaker.ended(permit, START + 5_100)
    assert breaker.state == "half-open"
    breaker.tick(START + 15_000)
    assert breaker.state == state


def test_nobody_asking_is_no_reason_to_open_again() -> None:
    breaker = BreakerProbe(HYSTRIX)
    breaker.run(START, bad=20)
    assert breaker.tick(START + 5_000)
    assert not breaker.tick(START + 10**9)
    permit = breaker.admit(START + 10**9)
    breaker.returned(permit)
    assert not breaker.tick(START + 2 * 10**9)  # it was given back: the time starts with the next one
    assert breaker.state == "half-open"


def test_slow_answers_open_it() -> None:
    breaker = BreakerProbe(replace(HYSTRIX, errors=0, slow=0.9, slow_after=0.5))
    for latency in [500_000] * 17 + [499_999] * 2:
        breaker.ended(breaker.admit(START), START, latency_us=latency)
    assert breaker.state == "closed"  # 17 of 19
    breaker.ended(breaker.admit(START), START, latency_us=600_000)
    assert breaker.state == "open"  # 18 of 20
    permit = breaker.admit(START + 5_000)
    breaker.ended(permit, START + 6_000, latency_us=499_999)
    assert breaker.state == "closed"


def test_what_began_before_it_opened_changes_nothing() -> None:
    breaker = BreakerProbe(HYSTRIX)
    early = breaker.admit(START)
    breaker.run(START, bad=20)
    breaker.ended(early, START + 100)
    assert (breaker.state, breaker.until) == ("open", START + 5_000)


@given(st.lists(st.tuples(st.integers(0, 4_000), st.booleans()), max_size=120), st.integers(1, 30), st.integers(1, 100))
def test_it_opens_exactly_when_a_plain_count_says_so(steps: list[tuple[int, bool]], least: int, percent: int) -> None:
    """Against a list of what the last ten tenths saw."""
    breaker = BreakerProbe(replace(HYSTRIX, min_requests=least, errors=percent / 100))
    now = START
    seen: list[tuple[int, bool]] = []
    for pause, failed in steps:
        now += pause
        seen = [(b, f) for b, f in [*seen, (now // 1000, failed)] if now // 1000 - b < 10]
        breaker.run(now, good=not failed, bad=failed)
        failures = sum(f for _, f in seen)
        expected = len(seen) >= least and failures > 0 and failures * 100 >= len(seen) * percent
        assert breaker.state == ("open" if expected else "closed")
        if expected:
            return


# --- around servers

SERVERS = [("a", 1), ("b", 1), ("c", 1)]


def open_breaker(probe: Probe, slot: int, now: int) -> None:
    for _ in range(20):
        probe.ended(slot, failed=True, now_ms=now)
    assert probe.breaker(slot) == "open"


def drive(probe: Probe, now: int, times: int) -> list[int]:
    slots = [probe.select(now_ms=now) for _ in range(times)]
    for slot in slots:
        probe.release(slot)
    return slots


@pytest.mark.parametrize("algorithm", ["round_robin", "two_choices", "least_connections", "random", "first"])
def test_a_server_with_an_open_breaker_is_left_out_and_gets_its_trials(algorithm: str) -> None:
    probe = Probe(algorithm, SERVERS, panic_threshold=0.5)
    probe.guard(replace(HYSTRIX, trials=3))
    open_breaker(probe, 0, START)
    assert probe.read(0)["state"] & OPEN
    assert not probe.usable(0)
    assert 0 not in drive(probe, START + 10, 100)
    open_breaker(probe, 1, START)
    open_breaker(probe, 2, START + 100)
    assert drive_refused(probe, START + 200)  # all open: not even panic mode disbelieves it

    now = START + 5_000  # a and b are due
    trials = []
    while (slot := probe.select(now_ms=now)) >= 0:
        trials.append((slot, probe.permit()))
    assert slot == NONE
    assert sorted(s for s, _ in trials) == [0] * 3 + [1] * 3
    assert all(is_trial(permit) for _, permit in trials)
    for slot, permit in trials:
        probe.release(slot)
        probe.ended(slot, permit=permit, failed=slot == 0, now_ms=now)
    assert [probe.breaker(i) for i in range(3)] == ["open", "closed", "open"]
    assert set(drive(probe, now + 1, 20)) == {1}
    assert not probe.read(1)["state"] & (OPEN | TRIAL)


def drive_refused(probe: Probe, now: int) -> bool:
    return probe.select(now_ms=now) == NONE


def test_backups_serve_while_the_primaries_are_on_trial() -> None:
    probe = Probe("round_robin", [("a", 1), ("b", 1, True)], panic_threshold=0.5)
    probe.guard(replace(HYSTRIX, trials=2))
    open_breaker(probe, 0, START)
    assert set(drive(probe, START + 1, 10)) == {1}
    slots = drive(probe, START + 5_000, 10)
    assert sorted(slots) == [0] * 2 + [1] * 8


@pytest.mark.parametrize("asked_before", [False, True])
def test_trials_hold_exactly_while_load_spills(asked_before: bool) -> None:
    """Whether the tiers were divided before the breaker was half open, or because of that."""
    probe = Probe("round_robin", [("a", 1, 0), ("b", 1, 0), ("c", 1, 1), ("d", 1, 2)], panic_threshold=0.5)
    probe.guard(replace(HYSTRIX, trials=3))
    open_breaker(probe, 1, START)
    if asked_before:
        assert sorted(drive(probe, START + 1, 100)) == [0] * 70 + [2] * 30
    slots = drive(probe, START + 5_000, 200)
    assert slots.count(1) == 3
    assert set(slots) == {0, 1, 2}


def test_a_tier_out_of_use_still_gets_its_trials() -> None:
    probe = Probe("round_robin", [("a", 1, 0), ("b", 1, 1), ("c", 1, 1), ("d", 1, 2)], panic_threshold=0)
    probe.guard(replace(HYSTRIX, trials=2))
    open_breaker(probe, 0, START)
    probe.write(1, state=0)
    assert sorted(drive(probe, START + 1, 100)) == [2] * 70 + [3] * 30
    slots = drive(probe, START + 5_000, 200)
    assert slots.count(0) == 2
    assert set(slots) == {0, 2, 3}


def test_a_full_server_costs_no_permit() -> None:
    probe = Probe("round_robin", [("a", 1)])
    probe.guard(HYSTRIX)
    open_breaker(probe, 0, START)
    probe.write(0, limit=1, inflight=1)
    assert probe.select(now_ms=START + 5_000) == FULL
    assert probe.permit() == 0
    probe.write(0, inflight=0)
    assert probe.select(now_ms=START + 5_001) == 0
    assert is_trial(probe.permit())


# --- over several processes

WORKER = """
import json, mmap, sys
from fastlb.balance.probe import BreakerProbe, is_trial
from fastlb.spec import CircuitBreaker
fd, rules, rounds = json.loads(sys.argv[1])
breaker = BreakerProbe(CircuitBreaker(**rules), mmap.mmap(fd, 0))
print("ready", flush=True)
for line in sys.stdin:
    now = int(line)
    permits = []
    for _ in range(200):
        permit = breaker.admit(now)
        if is_trial(permit):
            permits.append(permit)
    for permit in permits[1::3]:  # some come back, and are taken again by whoever is faster
        breaker.returned(permit)
    print(json.dumps([permits[0::3] + permits[2::3], len(permits)]), flush=True)
"""


def test_trials_hold_exactly_over_four_processes() -> None:
    rules = replace(HYSTRIX, trials=37, trial_time=1000)
    fd = os.memfd_create("breaker-test")
    os.ftruncate(fd, BREAKER_SIZE)
    breaker = BreakerProbe(rules, mmap.mmap(fd, BREAKER_SIZE))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps([fd, asdict(rules), 0])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[fd], cwd=ROOT, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        now = START
        for period in range(30):
            if breaker.state == "closed":
                breaker.run(now, bad=20)
            assert breaker.state == "open"
            now += 5_000
            held = []
            for worker in workers:  # all at once
                assert worker.stdin is not None
                worker.stdin.write(f"{now}\n")
                worker.stdin.flush()
            for worker in workers:
                assert worker.stdout is not None
                held += json.loads(worker.stdout.readline())[0]
            while is_trial(permit := breaker.admit(now)):  # what was given back last
                held.append(permit)
            assert len(held) == 37
            assert len(set(held)) == 1  # of one period
            for i, permit in enumerate(held):
                assert breaker.state == "half-open"
                # Every other period fails, with the 19th failure: the first that makes a half of 37.
                breaker.ended(permit, now, failed=bool(period % 2) and i >= 10)
                if breaker.state == "open":
                    assert i == 28
                    break
            assert breaker.state == ("open" if period % 2 else "closed")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.close()
            worker.stdout.close()
        os.close(fd)
