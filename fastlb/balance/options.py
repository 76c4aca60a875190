"""Options of algorithms: their checks, and errors that name the nearest valid choice. Cold code only."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Check = Callable[[str, object], Any]  # (name of the option, value given) -> value to use, or ValueError
Entry = tuple[Any, Mapping[str, Check]]  # class of the algorithm, its options

# Algorithms by name; each module of one enters it when imported.
registry: dict[str, Entry] = {}

# Policies written in Python, by name (policy.py).
policies: dict[str, type] = {}


def nearest(value: object, choices: Iterable[str]) -> str:
    """The choice most like `value`; '' when there is none."""
    found = difflib.get_close_matches(str(value), list(choices), n=1, cutoff=0.0)
    return found[0] if found else ""


def unknown(what: str, value: object, choices: Iterable[str]) -> ValueError:
    """Error for a name that is not among `choices`."""
    names = sorted(choices)
    hint = f"; did you mean {nearest(value, names)!r}?" if names else ""
    return ValueError(f"unknown {what} {value!r}{hint} (valid: {', '.join(names) or 'none'})")


def number(low: float, high: float, *, open_low: bool = False) -> Check:
    """A finite number in low..high; `open_low` leaves `low` itself out."""

    def check(name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{name} must be a number, not {value!r}")
        if value < low or value > high or (open_low and value == low):
            close = min(max(float(value), low), high)
            above = "above " if open_low and close == low else ""
            raise ValueError(f"{name} must lie in {low:g}..{high:g}, not {value!r}; nearest valid: {above}{close:g}")
        return float(value)

    return check


def integer(low: int, high: int) -> Check:
    """A whole number in low..high."""

    def check(name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{name} must be a whole number in {low}..{high}, not {value!r}")
        close = min(max(round(value), low), high)
        if close != value:
            raise ValueError(f"{name} must be a whole number in {low}..{high}, not {value!r}; nearest valid: {close}")
        return close

    return check


def choice(*names: str) -> Check:
    """One of `names`."""

    def check(name: str, value: object) -> str:
        if value not in names:
            raise unknown(name, value, names)
        return str(value)

    return check


COMMON: Mapping[str, Check] = {"panic_threshold": number(0, 1), "overprovisioning": number(1, 10)}
BOUND = number(1, 100, open_low=True)
SEED = integer(0, 2**64 - 1)


def check_options(
    algorithm: str, options: Mapping[str, object], also: Iterable[str] = ()
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Class of `algorithm`, its own options and those of the selector around it, all checked.

    A value of None, '' or 0 is as good as not given (0 is a valid seed), so that a caller may pass on fields of a
    configuration that were left empty. `also` names options that the caller knows himself, for error messages.
    """
    if algorithm not in registry:
        if algorithm in policies:
            raise ValueError(f"{algorithm!r} is a policy in Python: a Balancer can use it, the proxy cannot")
        raise unknown("algorithm", algorithm, [*registry, *policies])
    factory, checks = registry[algorithm]
    everywhere = {name for _, each in registry.values() for name in each} | set(COMMON)
    own: dict[str, Any] = {}
    common: dict[str, Any] = {}
    for name, value in options.items():
        empty = value is None or value == "" or (value == 0 and name != "seed")
        if empty and name in everywhere:
            continue
        if name == "bound" and name in checks:
            common[name] = checks[name](name, value)
        elif name in checks:
            own[name] = checks[name](name, value)
        elif name in COMMON:
            common[name] = COMMON[name](name, value)
        else:
            raise unknown(f"option of {algorithm}", name, [*checks, *COMMON, *also])
    return factory, own, common
