"""Durations, sizes and shares as people write them: "1h30m", "500ms", "16KB", "1MiB", "50%".

Sums are made of integers and `Decimal`, so "0.1s" is exactly the float 0.1 and "1h30m" exactly 5400.0.
"""

from __future__ import annotations

import re
from decimal import Decimal

from .suggest import Invalid, verified

_SECONDS = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_DURATION_STEP = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|[dhms])", re.ASCII)
MAX_DURATION = 30 * 86400.0  # what a 32-bit count of milliseconds holds with room to add to it

# As in HAProxy and nginx a kilobyte of memory is 1024 bytes, however it is spelt.
_BYTES = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    _BYTES |= {_letter: 1024**_power, f"{_letter}B": 1024**_power, f"{_letter}IB": 1024**_power}
_SIZE = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,6})?) ?([A-Z]{0,3})", re.ASCII)
MAX_SIZE = 2**50

_NUMBER = r"[0-9]+(\.[0-9]+)?"
DURATION_PATTERN = rf"^(0|(?=.)({_NUMBER}d)?({_NUMBER}h)?({_NUMBER}m)?({_NUMBER}s)?({_NUMBER}ms)?)$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?([kKmMgGtT]([iI]?[bB])?|[bB])?$"
PERCENT_PATTERN = r"^[0-9]+(\.[0-9]+)? ?%$"


@verified
def duration(value: object) -> float:
    """Seconds of "1h30m", "2.5s", "500ms" or 0. Units d h m s ms, the larger first, each once.

    A number without unit is refused (except 0): other programs read it as seconds or as milliseconds.
    At least 1 ms, or 0; at most 30 days. Raises `Invalid`.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Invalid('must be a duration with a unit, such as "30s", "500ms" or "1h30m"')
    if isinstance(value, int | float):
        if value == 0:
            return 0.0
        raise Invalid("a duration needs a unit (ms, s, m, h or d) and quotes", f"{value}s" if value > 0 else "")
    text = value.strip()
    if text == "0":
        return 0.0
    total = Decimal(0)
    smallest = Decimal("Infinity")
    at = 0
    while match := _DURATION_STEP.match(text, at):
        unit = _SECONDS[match[2]]
        if unit >= smallest:
            raise Invalid("units of a duration go from the largest to the smallest, each once")
        smallest = unit
        total += Decimal(match[1]) * unit
        at = match.end()
    if at != len(text) or not text:
        raise Invalid('must be a duration with a unit (ms, s, m, h or d), such as "1h30m"', _duration_guess(text))
    if total == 0:
        return 0.0
    if total < Decimal("0.001"):
        raise Invalid("a duration is at least 1 ms, or 0", "1ms")
    if total > Decimal(MAX_DURATION):
        raise Invalid("a duration is at most 30 days", "30d")
    return float(total)


def _duration_guess(text: str) -> str:
    """What a misspelt duration was probably meant to be: "30", "30 sec", "5min", "3S"."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zµ]*)\.?", text.strip().lower(), re.ASCII)
    if not match:
        return ""
    number, unit = match[1], match[2]
    for name, prefixes in (("ms", ("ms", "milli", "msec")), ("m", ("m",)), ("s", ("s",)), ("h", ("h",)), ("d", ("d",))):
        if unit.startswith(prefixes):
            return number + name
    return f"{number}s" if not unit else ""


@verified
def size(value: object) -> int:
    """Bytes of "16KB", "1MiB", "1.5M", "512" or a whole number. KB, MB, GB and TB are powers of 1024.

    Raises `Invalid`.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= MAX_SIZE:
            raise Invalid("a size is from 0 to 1024 TB")
        return value
    if not isinstance(value, str):
        raise Invalid('must be a size, such as "16KB", "1MiB" or a whole number of bytes')
    match = _SIZE.fullmatch(value.strip().upper())
    if match is None or match[2] not in _BYTES:
        raise Invalid('must be a size (B, KB, MB, GB, TB), such as "16KB"', _size_guess(value))
    total = Decimal(match[1]) * _BYTES[match[2]]
    if total != total.to_integral_value():
        raise Invalid("a size is a whole number of bytes")
    if total > MAX_SIZE:
        raise Invalid("a size is from 0 to 1024 TB")
    return int(total)


def _size_guess(text: str) -> str:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt])[a-z]*", text.strip().lower(), re.ASCII)
    return f"{match[1]}{match[2].upper()}B" if match else ""


@verified
def percent(value: object) -> float:
    """A share from 0 to 1 of "50%" or 0.5. Raises `Invalid`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Invalid('must be a share, such as "50%" or 0.5')
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%", value.strip(), re.ASCII)
        if match is None:
            raise Invalid('must be a share, such as "50%" or 0.5')
        share = float(Decimal(match[1]) / 100)
    else:
        share = float(value)
    if not 0.0 <= share <= 1.0:  # refuses NaN as well
        guess = f"{value}%" if isinstance(value, int | float) and 1 < value <= 100 else ""
        raise Invalid("a share is from 0 to 1, or from 0% to 100%", guess)
    return share


def format_duration(seconds: float) -> str:
    """The shortest text that `duration` reads back as the same number of milliseconds: 5400.0 -> '1h30m'."""
    left = round(seconds * 1000)
    if left == 0:
        return "0"
    text = ""
    for unit, milliseconds in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, milliseconds)
        if count:
            text += f"{count}{unit}"
    return text


def format_size(count: int) -> str:
    """16384 -> '16KB'; what is no whole multiple of a unit stays in the smaller one."""
    for unit in ("TB", "GB", "MB", "KB"):
        factor = _BYTES[unit]
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return f"{count}B" if count else "0"
