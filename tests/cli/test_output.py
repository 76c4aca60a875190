"""Numbers as people read them."""

from __future__ import annotations

import pytest

from fastlb.cli.output import age, amount, moments, octets, safe, table


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (7, "7"), (950, "950"), (999, "999"), (1000, "1k"), (12345, "12.3k"), (999_600, "1M"), (4.56e6, "4.56M"),
     (0.25, "0.25"), (31.4, "31.4"), (2e15, "2e+03T")],
)  # fmt: skip
def test_amounts(number: float, text: str) -> None:
    assert amount(number) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0B"), (512, "512B"), (1536, "1.5KB"), (20.1 * 2**20, "20.1MB")])
def test_octets(number: float, text: str) -> None:
    assert octets(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0"), (-1, "0"), (12e-6, "12us"), (0.0032, "3.2ms"), (0.9994, "999ms"), (1.5, "1.5s"), (150, "2m30s")],
)
def test_moments(seconds: float, text: str) -> None:
    assert moments(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (5.9, "5s"),
        (200, "3m20s"),
        (14400, "4h"),
        (14461, "4h1m"),
        (12 * 86400 + 6 * 3600, "12d6h"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_what_a_terminal_would_obey() -> None:
    assert safe("a\x1b[31m\r\nb\x9b\u202eä") == r"a\x1b[31m\r\nb\x9b\u202eä"


def test_cells_are_aligned_whatever_their_colour() -> None:
    rows = [("\x1b[31mx\x1b[0m", "1"), ("yyy", "22")]
    assert table(("name", "n"), rows, right=("n",)) == ["name   n", "\x1b[31mx\x1b[0m      1", "yyy   22"]
