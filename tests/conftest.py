"""Fixtures of the whole suite."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers import Program, in_ci

# A deadline an example, or on making them, would fail on a busy machine and on a sanitizer build; the test's own
# timeout stands. CI runs the same examples every time: what chance finds is found at a desk, and does not stop somebody
# else's change.
SETTINGS = settings(deadline=None, print_blob=True, derandomize=in_ci(), suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fastlb", SETTINGS)
settings.load_profile("fastlb")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`pytest --benchmark-only` means those of benchmarks/: there are none here, and collecting takes its time."""
    return True if config.getoption("benchmark_only", False) else None


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    """Starts programs (arguments of `tests.helpers.Program`) and stops them after the test, last one first."""
    running: list[Program] = []

    def begin(*args: Any, **kwargs: Any) -> Program:
        program = Program(*args, **kwargs)
        running.append(program)
        return program

    yield begin
    for program in reversed(running):
        program.stop()
    for program in running:  # shown by pytest beside a failed test
        print(f"--- {' '.join(program.argv)} (status {program.process.returncode})\n{program.output}")


@pytest.fixture(autouse=True, scope="module")
def nothing_left_open() -> Iterator[None]:
    """What a file of tests leaves to the collector, such as an open socket, fails there and not in a file after it."""
    yield
    gc.collect()


def _live() -> dict[str, int]:
    try:
        from fastlb._core.debug import debug_build, live_objects
    except ImportError:  # not built; the tests that need it say so themselves
        return {}
    return {kind: count for kind, count in live_objects().items() if count} if debug_build() else {}


@pytest.fixture(autouse=True)
def nothing_left_alive() -> Iterator[None]:
    """In a debug build a test fails that leaves engine objects of this process alive."""
    before = _live()
    yield
    if _live() != before:
        gc.collect()  # what only a cycle keeps is not lost
        left = _live()
        assert left == before, f"engine objects alive after the test: {left}, before it: {before}"
