"""Instructions of hot functions, exactly: `python -m pytest benchmarks -m callgrind --benchmark-only`.

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
COUNTED: dict[str, int] = DATA["instructions"]


@pytest.mark.callgrind
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", COUNTED)
def test_instructions(benchmark: BenchmarkFixture, name: str) -> None:
    need("valgrind")
    benchmark.group = "instructions"
    counted = benchmark.pedantic(instructions, (name,), rounds=1)
    benchmark.extra_info.update(instructions=counted, usual=COUNTED[name])
    if built_with() == DATA["counted_with"]:
        assert counted <= COUNTED[name] * (1 + DATA["tolerance"]["exact"])
