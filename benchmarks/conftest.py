"""Benchmarks run when they are asked for: with `--benchmark-only`, here or in the folder above."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if config.getoption("benchmark_only", False) else True
