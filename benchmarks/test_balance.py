"""What a pick costs a caller of the library, beside an empty lambda and beside PyPI's packages.

Fixed work: CALLS calls a round from timeit's loop, so times are those of CALLS calls; `multiple` in the extra
information is the median in units of calling an empty Python lambda, which is timed before every round of the
subject. The figures that fastlb promises (REQUIRED) are asserted.
"""

from __future__ import annotations

import itertools
import statistics
import timeit
from typing import Any

import jump
import pytest
import roundrobin
import uhashring
from pytest_benchmark.fixture import BenchmarkFixture

from fastlb.balance import Balancer, Server

CALLS = 20_000
ROUNDS = 25
SIZES = [10, 100, 1_000, 10_000]
KEY = "0123456789abcdef"  # 16 bytes

# (algorithm, servers, statement, options): most multiples of the empty lambda
REQUIRED: list[tuple[str, int, str, dict[str, object], float]] = [
    ("weighted_round_robin", 1_000, "b.pick()", {}, 3),
    ("weighted_round_robin", 10_000, "b.pick()", {}, 3),
    ("two_choices", 100, "b.release(b.pick())", {}, 5),
    ("two_choices", 1_000, "b.release(b.pick())", {}, 5),
    ("least_connections", 1_000, "b.release(b.pick())", {}, 8),
    ("consistent_hash", 1_000, "b.pick(key)", {"method": "maglev"}, 5),
]
PICKS = [
    ("round_robin", {}),
    ("weighted_round_robin", {}),
    ("random", {}),
    ("consistent_hash", {"method": "maglev"}),
    ("consistent_hash", {"method": "ring"}),
    ("consistent_hash", {"method": "jump"}),
    ("ip_hash", {}),
]
# not Maglev's five million slots, which take most of a second a round
REBUILDS = [
    (algorithm, options, n)
    for algorithm, options in [*PICKS, ("two_choices", {}), ("least_connections", {})]
    for n in SIZES
    if n < 10_000 or options != {"method": "maglev"}
]
PAIRS = [("two_choices", {}), ("least_connections", {}), ("least_time", {}), ("first", {}), ("round_robin", {})]


def balancer(algorithm: str, n: int, **options: object) -> Balancer:
    """Servers of five weights, so that nothing takes the short way of equal ones."""
    servers = [Server(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}:80", weight=1 + i % 5) for i in range(n)]
    return Balancer(algorithm, servers, **options)


def measure(
    benchmark: BenchmarkFixture, statement: str, calls: int = CALLS, rounds: int = ROUNDS, **names: Any
) -> float:
    """Times `statement`, calling the empty lambda as often before each round; the multiple of it."""
    subject = timeit.Timer(statement, globals=names)
    nothing = timeit.Timer("f()", globals={"f": lambda: None})
    empty: list[float] = []

    def setup() -> tuple[tuple[int], dict[str, Any]]:
        empty.append(nothing.timeit(calls))
        return (calls,), {}

    benchmark.pedantic(subject.timeit, setup=setup, rounds=rounds, warmup_rounds=2)
    multiple = benchmark.stats["median"] / statistics.median(empty)
    benchmark.extra_info["ns"] = round(benchmark.stats["median"] / calls * 1e9, 1)
    benchmark.extra_info["multiple"] = round(multiple, 2)
    return float(multiple)


def name(value: object) -> str | None:
    return str(next(iter(value.values()), "")) if isinstance(value, dict) else None


@pytest.mark.benchmark(group="required")
@pytest.mark.parametrize(("algorithm", "n", "statement", "options", "most"), REQUIRED, ids=name)
def test_required(
    benchmark: BenchmarkFixture, algorithm: str, n: int, statement: str, options: dict[str, object], most: float
) -> None:
    b = balancer(algorithm, n, **options)
    b.pick(KEY)
    assert measure(benchmark, statement, b=b, key=KEY) <= most


@pytest.mark.benchmark(group="pick")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("algorithm", "options"), PICKS, ids=name)
def test_pick(benchmark: BenchmarkFixture, algorithm: str, options: dict[str, object], n: int) -> None:
    b = balancer(algorithm, n, **options)
    keyed = algorithm in ("consistent_hash", "ip_hash")
    measure(benchmark, "b.pick(key)" if keyed else "b.pick()", b=b, key="10.1.2.3" if algorithm == "ip_hash" else KEY)


@pytest.mark.benchmark(group="pick and release")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("algorithm", "options"), PAIRS, ids=name)
def test_pick_and_release(benchmark: BenchmarkFixture, algorithm: str, options: dict[str, object], n: int) -> None:
    measure(benchmark, "b.release(b.pick())", b=balancer(algorithm, n, **options))


@pytest.mark.benchmark(group="rendezvous")
@pytest.mark.parametrize("n", [10, 64])
def test_rendezvous(benchmark: BenchmarkFixture, n: int) -> None:
    measure(benchmark, "b.pick(key)", b=balancer("consistent_hash", n, method="rendezvous"), key=KEY)


@pytest.mark.benchmark(group="rebuild")
@pytest.mark.parametrize(("algorithm", "options", "n"), REBUILDS, ids=name)
def test_rebuild(benchmark: BenchmarkFixture, algorithm: str, options: dict[str, object], n: int) -> None:
    """A weight changes, and the next pick finds it."""
    b = balancer(algorithm, n, **options)
    server = b.servers[n // 2]
    weights = itertools.cycle([7, 3])
    measure(benchmark, "b.set_weight(s, next(w)); b.release(b.pick(key))", 3, 5, b=b, s=server, w=weights, key=KEY)


@pytest.mark.benchmark(group="baseline")
@pytest.mark.parametrize("statement", ["f()", "next(cycle)", "pass"])
def test_baseline(benchmark: BenchmarkFixture, statement: str) -> None:
    measure(benchmark, statement, f=lambda: None, cycle=itertools.cycle(range(10)))


# ---- PyPI's packages, at the same work


def names(n: int) -> list[str]:
    return [f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}:80" for i in range(n)]


@pytest.mark.benchmark(group="peers")
@pytest.mark.parametrize("n", [10, 100, 1_000])
def test_peer_uhashring(benchmark: BenchmarkFixture, n: int) -> None:
    measure(benchmark, "get(key)", 2_000, get=uhashring.HashRing(names(n)).get_node, key=KEY)


@pytest.mark.benchmark(group="peers")
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("order", ["basic", "weighted", "smooth"])
def test_peer_roundrobin(benchmark: BenchmarkFixture, order: str, n: int) -> None:
    if order == "basic":
        pick = roundrobin.basic(names(n))
    else:
        pick = getattr(roundrobin, order)([(name, 1 + i % 5) for i, name in enumerate(names(n))])
    measure(benchmark, "pick()", max(20, 20_000 // n) if order == "smooth" else CALLS, 9, pick=pick)


@pytest.mark.benchmark(group="peers")
@pytest.mark.parametrize("n", SIZES)
def test_peer_jump(benchmark: BenchmarkFixture, n: int) -> None:
    measure(benchmark, "jump(key, n)", jump=jump.hash, key=0x0123456789ABCDEF, n=n)
