"""Every case of cases.py beside its baseline, judged by thresholds.toml.

`pytest-benchmark` keeps the subject's times; `ratio`, `usual` and `ns` in the extra information are what counts, and
what `make bench-history` draws. A regression fails with both ratios. Where it is meant, or the machine is another one,
the table is written anew by `python -m benchmarks.calibrate`.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import CASES
from benchmarks.judge import Bench, judge, thresholds

TABLE = thresholds()


@pytest.mark.parametrize("name", CASES)
def test_ratio(benchmark: BenchmarkFixture, name: str) -> None:
    case = CASES[name]
    benchmark.group = f"{name}, beside {case.beside}"
    bench = Bench(case)
    measured = bench.measure(TABLE.limit(name))
    judged = judge(name, measured.ratio, TABLE)

    def setup() -> tuple[tuple[int], dict[str, object]]:
        bench.settle()
        return (bench.calls,), {}

    benchmark.pedantic(bench.subject.timeit, setup=setup, rounds=5)
    benchmark.extra_info.update(
        ratio=round(judged.ratio, 5), usual=TABLE.usual[name], ns=round(measured.subject * 1e9, 1), judged=judged.why
    )
    assert judged.passed, (
        f"{name} takes {judged.ratio:.4g} times its baseline ({case.beside}); usual is {TABLE.usual[name]:.4g}, "
        f"tolerated {TABLE.limit(name) / TABLE.usual[name] - 1:.0%} more: {judged.why}"
    )
