"""Own XXH3-64 against the `xxhash` package, over every length class of the specification."""

from __future__ import annotations

import random

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from fastlb._core.xxh3 import xxh3_64_intdigest


def test_every_length_up_to_several_blocks() -> None:
    data = random.Random(3).randbytes(3 * 1024 + 70)
    for n in range(len(data) + 1):
        assert xxh3_64_intdigest(data[:n]) == xxhash.xxh3_64_intdigest(data[:n]), n


@pytest.mark.parametrize("n", [1024 * 64, 1024 * 64 + 1, 1_000_003])
def test_large(n: int) -> None:
    data = random.Random(n).randbytes(n)
    assert xxh3_64_intdigest(data) == xxhash.xxh3_64_intdigest(data)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    assert xxh3_64_intdigest(data) == xxhash.xxh3_64_intdigest(data)
