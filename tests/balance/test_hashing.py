"""consistent_hash in its four methods: published tables, oracles, movement of keys, bounded load."""

from __future__ import annotations

import collections
import hashlib
import random
from bisect import bisect_left

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from fastlb.balance import Balancer, Server, probe
from fastlb.balance.bounded_load import places
from fastlb.balance.jump import jump_hash
from fastlb.balance.maglev import fill_table
from fastlb.balance.probe import Probe
from fastlb.balance.ring_hash import ketama_key
from tests.oracle import hashing

METHODS = ["maglev", "ring", "rendezvous", "jump"]
KEYS = [f"key-{i}" for i in range(4000)]


def balancer(method: str, n: int, weight: int = 1, **options: object) -> Balancer:
    servers = [Server(f"10.0.0.{i}:80", weight=weight) for i in range(n)]
    return Balancer("consistent_hash", servers, method=method, **options)


def owners(b: Balancer, keys: list[str] = KEYS) -> dict[str, str]:
    found = {}
    for key in keys:
        with b.acquire(key) as server:
            found[key] = server.address
    return found


# ---- published answers


def test_jump_known_answers() -> None:
    known = [0, 55, 62, 8, 45, 59, 86, 97, 82, 59, 73, 37, 17, 56, 86, 21, 90, 37, 38, 83]
    assert [jump_hash(key, 100) for key in range(20)] == known
    assert [jump_hash(k, 11) for k in (10863919174838991, 2016238256797177309, 1673758223894951030)] == [6, 3, 5]
    assert [jump_hash(k, 100001) for k in (2, 2201, 2202)] == [80343, 22152, 15018]
    assert [jump_hash(0xDEADBEEF, n) for n in range(1, 20)] == [0, 1, 2, 3, 3, *[5] * 11, 16, 16, 16]


@given(st.integers(0, 2**64 - 1), st.integers(1, 100_000))
def test_jump_is_its_definition(key: int, buckets: int) -> None:
    assert jump_hash(key, buckets) == hashing.jump(key, buckets)


@pytest.mark.parametrize(
    ("names", "weights", "size", "table"),
    [
        ([f"127.0.0.1:{p}" for p in range(90, 96)], None, 7, [2, 4, 0, 1, 5, 0, 3]),
        ([f"{p}" for p in range(90, 96)], None, 7, [2, 5, 0, 3, 4, 1, 0]),
        (["127.0.0.1:90", "127.0.0.1:91"], [1, 2], 17, [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1]),
    ],
)
def test_maglev_tables_of_envoy(names: list[str], weights: list[int] | None, size: int, table: list[int]) -> None:
    """Envoy hashes names with XXH64, seeds 0 and 1, where fastlb has one XXH3; the claiming is the same."""
    offsets = [xxhash.xxh64_intdigest(n.encode(), 0) % size for n in names]
    skips = [xxhash.xxh64_intdigest(n.encode(), 1) % (size - 1) + 1 for n in names]
    assert fill_table(offsets, skips, size, weights) == table


def test_maglev_weights_of_envoy() -> None:
    names = ["127.0.0.1:90", "127.0.0.1:91"]
    offsets = [xxhash.xxh64_intdigest(n.encode(), 0) % 65537 for n in names]
    skips = [xxhash.xxh64_intdigest(n.encode(), 1) % 65536 + 1 for n in names]
    assert collections.Counter(fill_table(offsets, skips, 65537, [1, 2])) == {0: 21_846, 1: 43_691}


@given(st.data(), st.sampled_from([7, 53, 251]))
def test_maglev_claims_as_defined(data: st.DataObject, size: int) -> None:
    n = data.draw(st.integers(1, 7))
    offsets = data.draw(st.lists(st.integers(0, size - 1), min_size=n, max_size=n))
    skips = data.draw(st.lists(st.integers(1, size - 1), min_size=n, max_size=n))
    weights = data.draw(st.one_of(st.none(), st.lists(st.integers(1, 9), min_size=n, max_size=n)))
    assert fill_table(offsets, skips, size, weights) == hashing.maglev(offsets, skips, size, weights)


KETAMA = [(f"10.0.1.{i + 1}:11211", w) for i, w in enumerate([600, 300, 200, 350, 1000, 800, 950, 100])]


def test_ketama_of_libmemcached() -> None:
    p = Probe("consistent_hash", KETAMA, method="ring", hash="libmemcached")
    points = p.algorithm.continuum()
    counts = collections.Counter(seat for _, seat in points)
    assert [counts[i] for i in range(8)] == [176, 88, 56, 104, 296, 236, 280, 28]
    assert ketama_key(b"SVa_]_V41)") == 443691461 << 32
    assert points[bisect_left(points, (443691461, 0))] == (445379617, 6)
    assert p.select(key=443691461 << 32) == 6
    assert ketama_key(b"VDEAAAAA") == 0xFFFCD1B5 << 32
    assert p.select(key=0xFFFCD1B5 << 32) == points[0][1]  # past the last point: the first


def test_ketama_of_the_library_itself() -> None:
    """libketama's own test: the MD5 of a line with hash, point and server for each of a million keys."""
    p = Probe("consistent_hash", KETAMA, method="ring", hash="ketama")
    points = p.algorithm.continuum()
    positions = [point for point, _ in points]
    digest = hashlib.md5(b"\n")
    for i in range(1_000_000):
        position = ketama_key(b"%d" % i) >> 32
        point, seat = points[bisect_left(positions, position) % len(points)]
        digest.update(b"%u %u %s\n" % (position, point, KETAMA[seat][0].encode()))
    assert digest.hexdigest() == "5672b131391f5aa2b280936aec1eea74"


def test_ketama_of_python_ketama() -> None:
    p = Probe("consistent_hash", [("127.0.0.1:11211", 600), ("127.0.0.1:11212", 400)], method="ring", hash="ketama")
    points = p.algorithm.continuum()
    assert len(points) == 320
    assert ketama_key(b"test") == 3446378249 << 32
    assert points[bisect_left(points, (3446378249, 0))] == (3454255383, 0)


def test_ketama_keys_through_the_balancer() -> None:
    servers = [Server(name, weight=weight) for name, weight in KETAMA]
    b = Balancer("consistent_hash", servers, method="ring", hash="libmemcached")
    assert b.pick("SVa_]_V41)") is servers[6]
    assert b.pick(b"SVa_]_V41)") is servers[6]


@pytest.mark.parametrize(
    ("weights", "served", "percent", "slots"), [([1] * 4, 9, 125, [3, 3, 3, 4]), ([1, 3], 7, 150, [3, 9])]
)
def test_bounded_load_places(weights: list[int], served: int, percent: int, slots: list[int]) -> None:
    assert places(weights, served, percent) == slots


@given(st.lists(st.integers(1, 65535 * 65536), min_size=1, max_size=20), st.integers(0, 10**6), st.integers(101, 1000))
def test_bounded_load_places_are_haproxy_s(weights: list[int], served: int, percent: int) -> None:
    found = places(weights, served, percent)
    assert found == hashing.places(weights, served, percent)
    assert sum(found) >= (served + 1) * percent / 100


# ---- against oracles


weighted = st.lists(st.integers(1, 5), min_size=1, max_size=9)


@given(weighted, st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), st.randoms())
def test_ring_is_its_definition(weights: list[int], keys: list[int], rng: random.Random) -> None:
    names = [f"10.1.0.{i}:80" for i in range(len(weights))]
    p = Probe("consistent_hash", list(zip(names, weights, strict=True)), method="ring", points=20)
    ring = hashing.ring(names, weights, 20)
    assert p.algorithm.continuum() == ring
    up = set(range(len(weights)))
    for key in keys:
        assert p.select(key=key) == hashing.on_ring(ring, key >> 32, up)
    down = rng.randrange(len(weights))
    p.write(down, state=0)
    if len(weights) > 1:
        for key in keys:
            assert p.select(key=key) == hashing.on_ring(ring, key >> 32, up - {down})


@given(weighted, st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_rendezvous_is_its_definition(weights: list[int], keys: list[int]) -> None:
    names = [f"10.1.0.{i}:80" for i in range(len(weights))]
    p = Probe("consistent_hash", list(zip(names, weights, strict=True)), method="rendezvous")
    up = set(range(len(weights)))
    for key in keys:
        first = p.select(key=key)
        assert first == hashing.rendezvous(names, weights, key, up)
        if len(up) > 1:  # tried: the second best
            assert p.select(key=key, tried=[first]) == hashing.rendezvous(names, weights, key, up - {first})


@given(st.integers(1, 40), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_jump_by_slot(n: int, keys: list[int]) -> None:
    p = Probe("consistent_hash", [(f"s{i}", 1) for i in range(n)], method="jump")
    for key in keys:
        assert p.select(key=key) == hashing.jump(key, n)


@pytest.mark.parametrize("weights", [[1] * 10, [1, 2, 3, 4]])
def test_maglev_is_balanced_within_a_slot(weights: list[int]) -> None:
    """Picks over all residues of the table size count the slots."""
    p = Probe("consistent_hash", [(f"s{i}", w) for i, w in enumerate(weights)], method="maglev", table_size=1009)
    counts = collections.Counter(p.select(key=k) for k in range(1009))
    for i, w in enumerate(weights):
        assert abs(counts[i] - 1009 * w / sum(weights)) < 2


# ---- movement


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_declaration_does_not_matter_but_to_jump(method: str) -> None:
    names = [f"10.0.0.{i}:80" for i in range(12)]
    one = owners(Balancer("consistent_hash", names, method=method))
    two = owners(Balancer("consistent_hash", names[::-1], method=method))
    assert (one == two) == (method != "jump")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("state", ["down", "drain"])
def test_a_server_that_is_down_moves_only_its_own_keys(method: str, state: str) -> None:
    b = balancer(method, 10)
    before = owners(b)
    b.set_state("10.0.0.3:80", state)
    after = owners(b)
    gone = {k for k, v in before.items() if v == "10.0.0.3:80"}
    assert gone
    assert {k for k in KEYS if before[k] != after[k]} == gone
    assert len({after[k] for k in gone}) > 5  # spread over the others
    b.set_state("10.0.0.3:80", "up")
    assert owners(b) == before


@pytest.mark.parametrize(("method", "extra"), [("ring", 0), ("rendezvous", 0), ("maglev", 0.03), ("jump", 0)])
def test_adding_and_removing_the_last_moves_little(method: str, extra: float) -> None:
    b = balancer(method, 10)
    before = owners(b)
    b.add("10.0.0.99:80")
    more = owners(b)
    moved = {k for k in KEYS if before[k] != more[k]}
    strays = {k for k in moved if more[k] != "10.0.0.99:80"}
    assert len(strays) <= extra * len(KEYS)
    assert len(moved) == pytest.approx(len(KEYS) / 11, rel=0.5)
    b.remove("10.0.0.99:80")
    assert owners(b) == before


@pytest.mark.parametrize(("method", "extra"), [("ring", 0), ("rendezvous", 0), ("maglev", 0.03)])
def test_removing_any_moves_little(method: str, extra: float) -> None:
    b = balancer(method, 10)
    before = owners(b)
    b.remove("10.0.0.4:80")
    after = owners(b)
    strays = [k for k in KEYS if before[k] != after[k] and before[k] != "10.0.0.4:80"]
    assert len(strays) <= extra * len(KEYS)


@pytest.mark.parametrize("method", ["maglev", "ring", "rendezvous"])
def test_weights_share_the_keys(method: str) -> None:
    servers = [Server(f"10.0.0.{i}:80", weight=i) for i in range(1, 6)]
    counts = collections.Counter(owners(Balancer("consistent_hash", servers, method=method)).values())
    for server in servers:
        assert counts[server.address] / len(KEYS) == pytest.approx(server.weight / 15, rel=0.25)


@pytest.mark.parametrize("method", METHODS)
def test_slow_start_takes_over_its_keys_one_after_the_other(method: str) -> None:
    p = Probe("consistent_hash", [(f"s{i}", 1) for i in range(5)], method=method)
    keys = [hashing.mix64(i) for i in range(2000)]

    def mine() -> set[int]:
        return {k for k in keys if p.select(key=k) == 2}

    whole = mine()
    seen: set[int] = set()
    for part in (0.1, 0.3, 0.6, 0.9, 1):
        p.write(2, ramp=round(part * probe.RAMP))
        now = mine()
        assert seen <= now <= whole
        assert len(now) / len(whole) == pytest.approx(part, abs=0.08)
        seen = now
    assert seen == whole


# ---- bounded load


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shared", [False, True])
def test_one_hot_key_stays_within_the_bound(method: str, shared: bool) -> None:
    weights = [1, 1, 1, 1, 1] if method == "jump" else [1, 2, 1, 3, 1]
    servers = [(f"s{i}", w) for i, w in enumerate(weights)]
    p = Probe("consistent_hash", servers, method=method, bound=1.25, shared=shared)
    loads = [0] * 5
    for served in range(400):
        limit = hashing.places(weights, served, 125)
        slot = p.select(key=12345, now_ms=served)
        assert loads[slot] < limit[slot]
        loads[slot] += 1
    assert [p.read(i)["inflight"] for i in range(5)] == loads
    first = Probe("consistent_hash", servers, method=method).select(key=12345)
    assert loads[first] >= 400 * weights[first] / sum(weights)  # the key's own server is as full as it may be


@pytest.mark.parametrize("method", METHODS)
def test_a_bound_moves_nothing_while_load_is_even(method: str) -> None:
    assert owners(balancer(method, 10, bound=1.5)) == owners(balancer(method, 10))


def test_bound_counts_what_others_have_in_flight() -> None:
    p = Probe("consistent_hash", [("a", 1), ("b", 1)], bound=1.2)
    key = next(k for k in range(100) if p.select(key=k, now_ms=k) == 0)
    p.write(0, inflight=50)
    p.write(1, inflight=10)
    assert p.select(key=key, now_ms=1000) == 1


# ---- keys


@pytest.mark.parametrize("method", METHODS)
def test_without_a_key_round_robin_by_weight(method: str) -> None:
    servers = [Server("10.0.0.1:80", weight=2), Server("10.0.0.2:80")]
    b = Balancer("consistent_hash", servers, method=method)
    assert collections.Counter(b.pick().address for _ in range(300)) == {"10.0.0.1:80": 200, "10.0.0.2:80": 100}


@pytest.mark.parametrize("method", METHODS)
def test_str_and_bytes_are_one_key(method: str) -> None:
    b = balancer(method, 7)
    for text in ("a", "x" * 16, "y" * 300, "schlüssel", "鍵", ""):
        assert b.pick(text) is b.pick(text.encode())


def test_all_down_but_one_still_answers() -> None:
    for method in METHODS:
        b = balancer(method, 60)
        for i in range(59):
            b.set_state(f"10.0.0.{i}:80", "down")
        assert {b.pick(k).address for k in KEYS[:100]} == {"10.0.0.59:80"}
