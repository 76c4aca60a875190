"""Priority tiers: how load spills from one to the next, to the percent, and panic in each."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.balance import Balancer, Server, probe
from fastlb.balance.options import registry
from fastlb.balance.probe import Probe
from fastlb.balance.spillover import tier_loads
from fastlb.balance.tiers import BACKUP, standing_of
from tests.oracle.tiers import loads

# Share of well servers in each tier -> percent of the load for it. The rows of Envoy's documentation, those where its
# code is another by one for rounding included.
TABLE = [
    ((100, 100), (100, 0)),
    ((72, 100), (100, 0)),
    ((71, 100), (99, 1)),
    ((50, 100), (70, 30)),
    ((25, 100), (35, 65)),
    ((0, 100), (0, 100)),
    ((50, 60), (70, 30)),
    ((25, 25), (50, 50)),
    ((5, 65), (7, 93)),
    ((100, 100, 100), (100, 0, 0)),
    ((72, 72, 100), (100, 0, 0)),
    ((71, 71, 100), (99, 1, 0)),
    ((50, 60, 100), (70, 30, 0)),
    ((50, 50, 100), (70, 30, 0)),
    ((25, 25, 100), (35, 35, 30)),
    ((25, 25, 20), (36, 36, 28)),
    ((0, 0, 0), (0, 0, 0)),
]

ALGORITHMS = [
    *((name, {}) for name in sorted(registry) if name not in ("consistent_hash", "first")),
    *(("consistent_hash", {"method": method}) for method in ("maglev", "ring", "rendezvous", "jump")),
    ("consistent_hash", {"method": "maglev", "bound": 1.25}),
]


@pytest.mark.parametrize(("well", "share"), TABLE)
def test_the_table(well: tuple[int, ...], share: tuple[int, ...]) -> None:
    assert tuple(tier_loads([(n, 100) for n in well])) == share


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda t: (min(t), max(t))), max_size=8))
def test_any_tiers(tiers: list[tuple[int, int]]) -> None:
    assert tier_loads(tiers) == loads(tiers)[0]
    assert sum(tier_loads(tiers)) in (0, 100)


def test_another_factor() -> None:
    assert tier_loads([(50, 100), (100, 100)], overprovisioning=1.0) == [50, 50]
    assert tier_loads([(50, 100), (100, 100)], overprovisioning=2.0) == [100, 0]


def pool(algorithm: str, *tiers: int, shared: bool = True, **options: object) -> Probe:
    """So many servers in each tier."""
    servers = [(f"10.0.{tier}.{i}:80", 1, tier) for tier, n in enumerate(tiers) for i in range(n)]
    return Probe(algorithm, servers, shared=shared, **options)


def take_down(p: Probe, *slots: int) -> None:
    for slot in slots:
        p.write(slot, state=0)


def spread(p: Probe, times: int, *, keys: bool = False) -> collections.Counter[int]:
    """Where `times` uses go that end at once."""
    counts: collections.Counter[int] = collections.Counter()
    for i in range(times):
        slot = p.select(key=i * 0x9E3779B97F4A7C15 % 2**64 if keys else None, now_ms=i)
        counts[slot] += 1
        p.release(slot, now_ms=i)
    return counts


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("algorithm", "options"), ALGORITHMS)
def test_load_spills_to_the_percent(algorithm: str, options: dict[str, object], shared: bool) -> None:
    p = pool(algorithm, 4, 3, shared=shared, panic_threshold=0.5, **options)
    assert set(spread(p, 200)) <= {0, 1, 2, 3}
    take_down(p, 0, 1)
    counts = spread(p, 300)
    assert sum(counts[i] for i in (2, 3)) == 210
    assert sum(counts[i] for i in (4, 5, 6)) == 90
    assert all(counts[i] for i in (2, 3, 4, 5, 6))
    take_down(p, 2, 3)
    assert set(spread(p, 200)) == {4, 5, 6}
    for slot in range(4):
        p.write(slot, state=probe.UP)
    assert set(spread(p, 200)) <= {0, 1, 2, 3}
    assert p.ledger(0) == [0] * 7


@pytest.mark.parametrize("algorithm", ["round_robin", "weighted_round_robin"])
def test_turns_within_a_tier(algorithm: str) -> None:
    p = pool(algorithm, 100, 50)
    take_down(p, *range(50))
    counts = spread(p, 10_000)  # 140 turns of the first tier, 60 of the second
    assert all(counts[slot] == 140 for slot in range(50, 100))
    assert all(counts[slot] == 60 for slot in range(100, 150))


def test_keys_keep_to_their_tier_and_server() -> None:
    p = pool("consistent_hash", 10, 10, method="ring", shared=True)
    keys = [i * 0x9E3779B97F4A7C15 % 2**64 for i in range(1000)]

    def homes() -> list[int]:
        found = [p.select(key=key) for key in keys]
        for slot in found:
            p.release(slot)
        return found

    take_down(p, 0, 1, 2)
    before = homes()
    spilled = {i for i, slot in enumerate(before) if slot >= 10}
    assert len(spilled) == pytest.approx(20, abs=15)  # 70 % well: 98 and 2
    assert homes() == before
    take_down(p, 3)
    after = homes()
    assert spilled < {i for i, slot in enumerate(after) if slot >= 10}, "who spilled stays where it is"
    moved = [i for i in range(1000) if before[i] != after[i] and before[i] != 3]
    assert all(after[i] >= 10 for i in moved), "others move only to the next tier"


def test_a_full_tier_borrows_from_those_in_use() -> None:
    p = pool("round_robin", 2, 1, shared=True)
    take_down(p, 0)
    p.write(2, limit=1)
    assert [p.select() for _ in range(20)].count(2) == 1
    p.write(1, limit=1)
    assert p.select() == probe.FULL


def test_a_healthy_tier_that_is_full_makes_wait_and_does_not_spill() -> None:
    p = pool("round_robin", 1, 1)
    p.write(0, limit=1)
    assert [p.select(), p.select()] == [0, probe.FULL]


def test_retries_go_on_to_the_next_tier() -> None:
    p = pool("two_choices", 2, 2)
    assert p.select(tried=[0]) == 1
    assert p.select(tried=[0, 1]) in (2, 3)


def test_panic_is_each_tiers_own() -> None:
    p = pool("round_robin", 4, 4, panic_threshold=0.5)
    take_down(p, 0, 1, 2)  # 35 % of the load; the other tier carries the rest: no panic
    assert set(spread(p, 100)) == {3, 4, 5, 6, 7}
    take_down(p, 4, 5)  # 35 and 70: still all of it
    assert set(spread(p, 100)) == {3, 6, 7}
    take_down(p, 6)  # 35 and 35: both panic, and share by their servers
    assert spread(p, 800) == dict.fromkeys(range(8), 100)
    for slot in (4, 5, 6):
        p.write(slot, state=probe.UP)
    take_down(p, 5, 6, 3)  # nobody and half: 70, so the first panics, but has no load
    assert set(spread(p, 100)) == {4, 7}


def test_panic_without_a_single_one() -> None:
    p = pool("round_robin", 1, 3, panic_threshold=0.5)
    take_down(p, 0, 1, 2, 3)
    assert spread(p, 400) == dict.fromkeys(range(4), 100)
    never = pool("round_robin", 1, 3, panic_threshold=0)
    take_down(never, 0, 1, 2, 3)
    assert never.select() == probe.NONE
    never.write(3, state=probe.UP)
    assert set(spread(never, 9)) == {3}


def test_backups_come_after_all_tiers() -> None:
    p = Probe("round_robin", [("a:1", 1, 0), ("b:1", 1, 1), ("c:1", 1, True)], panic_threshold=0.5)
    take_down(p, 0)
    assert set(spread(p, 9)) == {1}
    take_down(p, 1)
    assert set(spread(p, 9)) == {2}
    take_down(p, 2)
    assert set(spread(p, 9)) == {0, 1, 2}


def test_drained_and_maintained_do_not_count() -> None:
    p = pool("round_robin", 4, 1)
    p.write(0, state=probe.UP | probe.DRAIN)
    p.write(1, state=probe.UP | probe.MAINT)
    assert set(spread(p, 9)) == {2, 3}
    take_down(p, 2)
    assert spread(p, 100) == {3: 70, 4: 30}


def test_an_open_breaker_counts_as_a_loss() -> None:
    p = pool("round_robin", 4, 1)
    for slot in (0, 1):
        p.write(slot, state=probe.UP | probe.OPEN)
    counts = spread(p, 100)
    assert (counts[2] + counts[3], counts[4]) == (70, 30)


def test_the_library() -> None:
    balancer = Balancer(
        "least_connections", [Server("a:1"), Server("b:1"), Server("c:1", tier=1)], overprovisioning=1.0
    )
    balancer.set_state("a:1", "down")
    held = [balancer.pick() for _ in range(100)]
    assert collections.Counter(server.name for server in held) == {"b:1": 50, "c:1": 50}
    balancer.set_state("a:1", "up")  # the counts of what is in flight are right again
    assert collections.Counter(balancer.pick().name for _ in range(50)) == {"a:1": 50}
    for server in held:
        balancer.release(server)
    assert [balancer.in_flight(name) for name in ("a:1", "b:1", "c:1")] == [50, 0, 0]
    assert repr(balancer.servers[2]) == "Server('c:1', weight=1, tier=1)"
    with pytest.raises(ValueError, match="nearest valid: 7"):
        Server("d:1", tier=8)


def test_private_counts_survive_changes_of_tiers() -> None:
    p = pool("least_connections", 3, 3, shared=False)
    take_down(p, 0, 1)  # 46 and 54
    held = p.select_many(100)
    for slot in (4, 5):
        p.write(slot, state=0)
        p.write(slot, state=probe.UP)
    for slot in held[:60]:
        p.release(slot)
    more = p.select_many(60)
    counts = collections.Counter(held[60:] + more)
    assert [p.read(i)["inflight"] for i in range(6)] == [counts[i] for i in range(6)]
    well = [counts[i] for i in (3, 4, 5)]
    assert max(well) - min(well) <= 1, "each tier knows what its servers have in flight"


def test_what_people_are_told() -> None:
    up, down, drained = probe.UP, 0, probe.UP | probe.DRAIN
    one = standing_of([(0, up, 1), (0, down, 1), (0, drained, 1)], 0.5, 1.4)
    assert (one.usable, one.eligible, one.panic, one.loads) == (1, 2, False, {0: 100})
    assert standing_of([(0, down, 1), (0, down, 1), (0, up, 1)], 0.5, 1.4).panic
    assert standing_of([(0, down, 1), (BACKUP, up, 1)], 0.5, 1.4).loads == {BACKUP: 100}
    both = standing_of([(0, up, 1), (0, down, 1), (3, up, 1)], 0.5, 1.4)
    assert (both.panic, both.loads) == (False, {0: 70, 3: 30})
    assert not standing_of([(0, drained, 1)], 0.5, 1.4).panic
