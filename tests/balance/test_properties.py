"""Whatever is asked in whatever order: only servers that may be picked are, and the books balance."""

from __future__ import annotations

import collections
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlb._core.debug import debug_build
from fastlb.balance import probe
from fastlb.balance.options import registry
from fastlb.balance.probe import Probe
from tests.helpers import ROOT
from tests.oracle.tiers import Member, allowed

METHODS = ("maglev", "ring", "rendezvous", "jump")
CASES: list[tuple[str, dict[str, object]]] = [(name, {}) for name in sorted(registry) if name != "consistent_hash"]
CASES += [("consistent_hash", {"method": m}) for m in METHODS]
CASES += [("consistent_hash", {"method": m, "bound": 1.2}) for m in METHODS]
CASES += [("ip_hash", {"bound": 1.5})]

slots = st.integers(0, 6)
steps = st.one_of(
    st.tuples(st.just("pick"), st.one_of(st.none(), st.integers(0, 2**64 - 1)), st.lists(slots, max_size=4)),
    st.tuples(st.just("pick"), st.one_of(st.none(), st.integers(0, 2**64 - 1)), st.just([])),
    st.tuples(st.just("release"), st.integers(0, 10**6), st.sampled_from([probe.OK, probe.FAILED, probe.CANCELLED])),
    st.tuples(st.just("up"), slots, st.booleans()),
    st.tuples(st.just("drain"), slots, st.booleans()),
    st.tuples(st.just("maint"), slots, st.booleans()),
    st.tuples(st.just("ejected"), slots, st.booleans()),
    st.tuples(st.just("weight"), slots, st.integers(0, 4)),
    st.tuples(st.just("limit"), slots, st.integers(0, 3)),
    st.tuples(st.just("ramp"), slots, st.integers(1, probe.RAMP)),
)


@pytest.mark.parametrize(("algorithm", "options"), CASES)
@settings(max_examples=60, deadline=None)
@given(
    tiers=st.one_of(
        st.lists(st.sampled_from([0, True]), min_size=7, max_size=7),
        st.lists(st.sampled_from([0, 1, 5, True]), min_size=7, max_size=7),
    ),
    panic=st.sampled_from([0.0, 0.5, 1.0]),
    shared=st.booleans(),
    script=st.lists(steps, max_size=60),
)
def test_any_script(
    algorithm: str, options: dict[str, object], tiers: list[int], panic: float, shared: bool, script: list[tuple]
) -> None:
    members = [Member(backup=t is True, tier=0 if t is True else t) for t in tiers]
    servers = [(f"10.0.0.{i}:80", 1, t) for i, t in enumerate(tiers)]
    p = Probe(algorithm, servers, shared=shared, panic_threshold=panic, **options)
    held: list[int] = []
    for now, (what, first, second) in enumerate(script):
        if what == "pick":
            tried = sorted(set(second))
            may, full = allowed(members, panic, tried)
            slot = p.select(key=first, tried=tried, now_ms=now)
            if may:
                assert slot in may
                members[slot].inflight += 1
                held.append(slot)
            else:
                assert slot == (probe.FULL if full else probe.NONE)
        elif what == "release":
            if held:
                slot = held.pop(first % len(held))
                p.release(slot, second, latency_us=first, now_ms=now)
                members[slot].inflight -= 1
        else:
            member = members[first]
            setattr(member, what, second) if what != "ramp" else None
            state = member.up * probe.UP | member.drain * probe.DRAIN
            state |= member.maint * probe.MAINT | member.ejected * probe.EJECTED
            ramp = second if what == "ramp" else None
            p.write(first, state=state, weight=member.weight, limit=member.limit, ramp=ramp)
            assert p.usable(first) == member.usable
            if what == "ramp":  # a limit in slow start is smaller, which the model leaves out
                p.write(first, ramp=probe.RAMP if member.limit else ramp)
            elif what == "limit":
                p.write(first, ramp=probe.RAMP)
        assert [p.read(i)["inflight"] for i in range(7)] == [m.inflight for m in members]
    counts = collections.Counter(held)
    assert p.ledger(0) == [counts[i] for i in range(7)]
    for slot in held:
        p.release(slot)
    assert [p.read(i)["inflight"] for i in range(7)] == p.ledger(0) == [0] * 7


@pytest.mark.parametrize(("algorithm", "options"), [case for case in CASES if case[0] != "first"])
def test_everybody_gets_a_fair_share(algorithm: str, options: dict[str, object]) -> None:
    p = Probe(algorithm, [(f"10.0.0.{i}:80", 1) for i in range(10)], **options)
    counts: collections.Counter[int] = collections.Counter()
    for i in range(5000):
        slot = p.select(key=i * 0x9E3779B97F4A7C15 % 2**64, now_ms=i)
        counts[slot] += 1
        p.release(slot, probe.OK, 1000, now_ms=i)
    assert len(counts) == 10
    assert 0.7 * 500 < min(counts.values()) <= max(counts.values()) < 1.3 * 500


def test_a_ramped_limit_holds_back_too() -> None:
    p = Probe("round_robin", [("a", 1)])
    p.write(0, limit=8, ramp=probe.RAMP // 4)
    assert [p.select() for _ in range(3)] == [0, 0, probe.FULL]
    p.write(0, ramp=1)
    p.release(0)
    p.release(0)
    assert [p.select() for _ in range(2)] == [0, probe.FULL]  # at least one


RELEASE_TOO_MUCH = """
from fastlb.balance.probe import Probe
p = Probe("round_robin", [("a", 1), ("b", 1)])
p.write(0, inflight=3)  # other processes'
p.release(0)
assert p.read(0)["inflight"] == 3
assert p.ledger(0) == [0, 0]
"""


def test_release_of_what_was_not_taken_changes_nothing_or_aborts_a_debug_build() -> None:
    done = subprocess.run([sys.executable, "-c", RELEASE_TOO_MUCH], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == (-signal.SIGABRT if debug_build() else 0), done.stderr
    if debug_build():
        assert "has not taken" in done.stderr
