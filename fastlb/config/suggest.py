"""The nearest valid choice for a wrong word, and the exception that carries it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import wraps
from typing import TypeVar

T = TypeVar("T")

# What other load balancers call the same thing.
ALGORITHM_ALIASES = {
    "roundrobin": "round_robin",
    "rr": "round_robin",
    "static-rr": "round_robin",
    "wrr": "weighted_round_robin",
    "swrr": "weighted_round_robin",
    "smooth": "weighted_round_robin",
    "leastconn": "least_connections",
    "least_conn": "least_connections",
    "leastconnections": "least_connections",
    "least_request": "two_choices",
    "least_requests": "two_choices",
    "p2c": "two_choices",
    "power_of_two": "two_choices",
    "ewma": "least_time",
    "peak_ewma": "least_time",
    "fastest": "least_time",
    "source": "ip_hash",
    "iphash": "ip_hash",
    "hash": "consistent_hash",
    "chash": "consistent_hash",
    "ketama": "consistent_hash",
    "ring": "consistent_hash",
    "ring_hash": "consistent_hash",
    "maglev": "consistent_hash",
    "rendezvous": "consistent_hash",
    "jump": "consistent_hash",
    "uri": "consistent_hash",
    "hdr": "consistent_hash",
}


class Invalid(ValueError):
    """A value that is refused: why, and the nearest one that would be taken ('' = none).

    A `ValueError`, so that pydantic collects it with everything else that is wrong.
    """

    def __init__(self, reason: str, nearest: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.nearest = nearest


def verified(parse: Callable[[object], T]) -> Callable[[object], T]:
    """The same function, less the suggestions that it would refuse as well."""

    @wraps(parse)
    def checked(value: object) -> T:
        try:
            return parse(value)
        except Invalid as error:
            if not error.nearest:
                raise
            try:
                parse(error.nearest)
            except Invalid:
                raise Invalid(error.reason) from None
            raise

    return checked


def nearest(word: str, choices: Iterable[str], aliases: dict[str, str] | None = None) -> str:
    """The choice that `word` was probably meant to be, or ''.

    Compared without case, and without the difference between '-', '_' and ' '. Only a close match counts: a wild
    guess in an error message costs more than none.
    """
    names = list(choices)
    plain = {_plain(name): name for name in reversed(names)}
    wanted = _plain(word)
    if wanted in plain:
        return plain[wanted]
    if aliases:
        for alias, name in aliases.items():
            if _plain(alias) == wanted and name in names:
                return name
    for name_plain, name in plain.items():  # singular for plural and the reverse
        if wanted and (wanted + "s" == name_plain or name_plain + "s" == wanted):
            return name
    close = get_close_matches(wanted[:64], plain, n=1, cutoff=0.7)
    return plain[close[0]] if close else ""


def listed(choices: Iterable[str]) -> str:
    """'a, b or c'."""
    names = list(choices)
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")
