"""Rate limits of frontends and routes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from . import syntax
from .suggest import Invalid, nearest
from .types import Networks, Table, many, one_or_many, option

_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*/\s*(s|sec|second|m|min|minute|h|hour|d|day)\Z", re.ASCII)
_SECONDS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600,
            "d": 86400, "day": 86400}  # fmt: skip
_KINDS = ("ip", "path", "host", "header", "cookie", "query")


def rate(value: object) -> float:
    """Requests a second of "10/s", "100/m", "5000/h" or "1/d"."""
    match = _RATE.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        raise Invalid('must be a number and a time, such as "10/s" or "100/m"', f"{value}/s" if number else "")
    found = float(match[1]) / _SECONDS[match[2]]
    if not found > 0:
        raise Invalid("must be above 0", "1/d")
    return found


def rate_key(value: object) -> str:
    """ip | path | host | header:NAME | cookie:NAME | query:NAME."""
    if value == "host":
        return "host"
    if isinstance(value, str) and value.partition(":")[0] not in _KINDS:
        guess = nearest(value, _KINDS, {"source": "ip", "client": "ip", "url": "path", "uri": "path"})
        raise Invalid("must be ip, path, host, header:NAME, cookie:NAME or query:NAME", guess)
    return syntax.hash_key(value)


RATE_PATTERN = r"^\s*\d+(\.\d+)?\s*/\s*[a-z]+\s*$"
Rate = Annotated[
    float,
    PlainValidator(rate),
    WithJsonSchema({"type": "string", "pattern": RATE_PATTERN, "examples": ["10/s", "100/m"]}),
]
RateKey = Annotated[
    str, PlainValidator(rate_key), WithJsonSchema({"type": "string", "examples": ["ip", "header:X-Api-Key"]})
]
RateKeys = Annotated[list[RateKey], BeforeValidator(one_or_many, json_schema_input_type=RateKey | list[RateKey])]


class RateLimitTable(Table):
    """Requests of one key that pass; what is over gets 429."""

    rate: Rate = option(..., "Requests in a time: 10/s, 100/m, 5000/h, 1/d.")
    burst: int = option(0, "How many more may come at once.", ge=0, le=1_000_000)
    key: RateKeys = option(
        lambda: ["ip"], "What is counted apart; several make one key, an empty list counts all together."
    )
    ipv4_prefix: int = option(32, "Bits of an IPv4 address that make one client.", ge=0, le=32)
    ipv6_prefix: int = option(64, "Bits of an IPv6 address that make one client.", ge=0, le=128)
    exempt: Networks = option(list, "Networks that are not counted.")
    dry_run: bool = option(False, "Count what would be refused, but refuse nothing.")


RateLimits = Annotated[
    list[RateLimitTable],
    BeforeValidator(many("rate"), json_schema_input_type=Rate | RateLimitTable | list[Rate | RateLimitTable]),
]
