"""Durations, sizes and shares: what is read, what is refused in which words, and that text goes there and back."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.config import units
from fastlb.config.suggest import Invalid
from fastlb.config.units import duration, format_duration, format_size, percent, size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3s", 3.0),
        ("500ms", 0.5),
        ("1h30m", 5400.0),
        ("1d", 86400.0),
        ("1d2h3m4s5ms", 93784.005),
        ("0.1s", 0.1),
        ("2.5s", 2.5),
        ("90s", 90.0),
        ("0", 0.0),
        ("0s", 0.0),
        (0, 0.0),
        (0.0, 0.0),
        (" 3s ", 3.0),
        ("1ms", 0.001),
        ("30d", 2592000.0),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "reason", "nearest"),
    [
        (3, "a duration needs a unit (ms, s, m, h or d) and quotes", "3s"),
        (1.5, "a duration needs a unit (ms, s, m, h or d) and quotes", "1.5s"),
        (-1, "a duration needs a unit (ms, s, m, h or d) and quotes", ""),
        (True, 'must be a duration with a unit, such as "30s", "500ms" or "1h30m"', ""),
        (["3s"], 'must be a duration with a unit, such as "30s", "500ms" or "1h30m"', ""),
        ("30", 'must be a duration with a unit (ms, s, m, h or d), such as "1h30m"', "30s"),
        ("5 min", 'must be a duration with a unit (ms, s, m, h or d), such as "1h30m"', "5m"),
        ("10 Seconds", 'must be a duration with a unit (ms, s, m, h or d), such as "1h30m"', "10s"),
        ("5msec", 'must be a duration with a unit (ms, s, m, h or d), such as "1h30m"', "5ms"),
        ("", 'must be a duration with a unit (ms, s, m, h or d), such as "1h30m"', ""),
        ("soon", 'must be a duration with a unit (ms, s, m, h or d), such as "1h30m"', ""),
        ("-1s", 'must be a duration with a unit (ms, s, m, h or d), such as "1h30m"', ""),
        ("1s1s", "units of a duration go from the largest to the smallest, each once", ""),
        ("30m1h", "units of a duration go from the largest to the smallest, each once", ""),
        ("0.1ms", "a duration is at least 1 ms, or 0", "1ms"),
        ("31d", "a duration is at most 30 days", "30d"),
        ("٣s", 'must be a duration with a unit (ms, s, m, h or d), such as "1h30m"', ""),
    ],
)
def test_wrong_durations(value: object, reason: str, nearest: str) -> None:
    with pytest.raises(Invalid) as caught:
        duration(value)
    assert (caught.value.reason, caught.value.nearest) == (reason, nearest)


@given(st.integers(0, 30 * 86_400_000))
def test_durations_go_there_and_back(milliseconds: int) -> None:
    text = format_duration(milliseconds / 1000)
    assert duration(text) == milliseconds / 1000
    assert re.fullmatch(units.DURATION_PATTERN, text)


@given(st.text(st.sampled_from("0123456789.dhms "), max_size=12))
def test_durations_are_read_as_their_sum_or_refused(text: str) -> None:
    try:
        found = duration(text)
    except Invalid:
        return
    parts = re.findall(r"([0-9.]+)(ms|[dhms])", text)
    factors = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": Decimal("0.001")}
    assert found == float(sum(Decimal(number) * factors[unit] for number, unit in parts))
    assert text.strip() in ("0",) or "".join(n + u for n, u in parts) == text.strip()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("16KB", 16384),
        ("16K", 16384),
        ("16k", 16384),
        ("16KiB", 16384),
        ("16 kB", 16384),
        ("1MB", 2**20),
        ("1MiB", 2**20),
        ("1.5M", 3 * 2**19),
        ("2g", 2**31),
        ("1TB", 2**40),
        ("512", 512),
        ("512B", 512),
        (4096, 4096),
        (0, 0),
        ("0", 0),
    ],
)
def test_sizes(text: object, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize(
    ("value", "reason", "nearest"),
    [
        ("16XB", 'must be a size (B, KB, MB, GB, TB), such as "16KB"', ""),
        ("16Kbytes", 'must be a size (B, KB, MB, GB, TB), such as "16KB"', "16KB"),
        ("5 megs", 'must be a size (B, KB, MB, GB, TB), such as "16KB"', "5MB"),
        ("", 'must be a size (B, KB, MB, GB, TB), such as "16KB"', ""),
        ("-1", 'must be a size (B, KB, MB, GB, TB), such as "16KB"', ""),
        (-1, "a size is from 0 to 1024 TB", ""),
        ("1025TB", "a size is from 0 to 1024 TB", ""),
        ("1.5", "a size is a whole number of bytes", ""),
        ("0.3B", "a size is a whole number of bytes", ""),
        (1.5, 'must be a size, such as "16KB", "1MiB" or a whole number of bytes', ""),
        (True, 'must be a size, such as "16KB", "1MiB" or a whole number of bytes', ""),
    ],
)
def test_wrong_sizes(value: object, reason: str, nearest: str) -> None:
    with pytest.raises(Invalid) as caught:
        size(value)
    assert (caught.value.reason, caught.value.nearest) == (reason, nearest)


@given(st.integers(0, 2**50))
def test_sizes_go_there_and_back(count: int) -> None:
    assert size(format_size(count)) == count
    assert size(count) == count
    assert re.fullmatch(units.SIZE_PATTERN, format_size(count))


@given(st.integers(0, 2**20), st.sampled_from(["", "B", "K", "KB", "KiB", "m", "mb", "GiB"]))
def test_sizes_scale_by_their_unit(count: int, unit: str) -> None:
    power = " kmg".find(unit[:1].lower()) if unit[:1].lower() in "kmg" else 0
    assert size(f"{count}{unit}") == count * 1024 ** max(power, 0)


@pytest.mark.parametrize(
    ("text", "share"), [("50%", 0.5), ("0%", 0), ("100 %", 1), ("12.5%", 0.125), (0.25, 0.25), (1, 1)]
)
def test_shares(text: object, share: float) -> None:
    assert percent(text) == share


@pytest.mark.parametrize(
    ("value", "reason", "nearest"),
    [
        (50, "a share is from 0 to 1, or from 0% to 100%", "50%"),
        ("101%", "a share is from 0 to 1, or from 0% to 100%", ""),
        (-0.1, "a share is from 0 to 1, or from 0% to 100%", ""),
        (float("nan"), "a share is from 0 to 1, or from 0% to 100%", ""),
        ("half", 'must be a share, such as "50%" or 0.5', ""),
        (False, 'must be a share, such as "50%" or 0.5', ""),
    ],
)
def test_wrong_shares(value: object, reason: str, nearest: str) -> None:
    with pytest.raises(Invalid) as caught:
        percent(value)
    assert (caught.value.reason, caught.value.nearest) == (reason, nearest)
