"""Instructions of the judged cases, exactly: `python -m pytest benchmarks -m callgrind --benchmark-only`.

The table is `instructions` in thresholds.toml, counted with the compiler and interpreter it names; `exact` is what one
build may differ from another of the same kind. With others the counts are reported and not judged.
"""

from __future__ import annotations

import tomllib

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.callgrind import built_with, instructions
from benchmarks.judge import TABLE
from tests.helpers import need

DATA = tomllib.loads(TABLE.read_text())
COUNTED: dict[str, float] = DATA["instructions"]


@pytest.fixture(scope="module")
def counted() -> dict[str, float]:
    """All of them in one go: starting Python under valgrind takes longer than most cases."""
    need("valgrind")
    return instructions(list(COUNTED))


@pytest.mark.callgrind
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", COUNTED)
def test_instructions(benchmark: BenchmarkFixture, counted: dict[str, float], name: str) -> None:
    benchmark.group = "instructions"
    count = benchmark.pedantic(counted.get, (name,), rounds=1)
    benchmark.extra_info.update(instructions=round(count), usual=round(COUNTED[name]))
    if built_with() == DATA["counted_with"]:
        assert count <= COUNTED[name] * (1 + DATA["tolerance"]["exact"]), f"{count / COUNTED[name] - 1:+.1%}"
