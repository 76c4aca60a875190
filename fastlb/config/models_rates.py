"""Rate limits of frontends and routes."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from fastlb import spec

from . import syntax, units
from .suggest import Invalid, nearest
from .types import Count, Name, Networks, Positive, Size, Table, choice, many, one_or_many, option

_RATE = re.compile(
    r"(\d{1,9}(?:\.\d{1,3})?)\s*((?:[KMGT]i?)?B)?\s*/\s*(s|sec|second|m|min|minute|h|hour|d|day)\Z", re.ASCII
)
_SECONDS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600,
            "d": 86400, "day": 86400}  # fmt: skip
_REDIS = spec.Redis()
_KINDS = ("ip", "path", "host", "route", "header", "cookie", "query")


class Speed(float):
    """How much a second."""

    span: float = 1.0  # seconds of the time that it was written for
    sized: bool = False  # in bytes


def rate(value: object) -> Speed:
    """How much a second of "10/s", "100/m", "5000/h" or "1/d", or in bytes of "1MB/s"."""
    match = _RATE.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        raise Invalid('must be a number and a time, such as "10/s" or "100/m"', f"{value}/s" if number else "")
    size = units.size(f"1{match[2]}") if match[2] else 1
    found = Speed(float(match[1]) * size / _SECONDS[match[3]])
    if not found > 0:
        raise Invalid("must be above 0", "1/d")
    found.span = float(_SECONDS[match[3]])
    found.sized = bool(match[2])
    return found


def rate_key(value: object) -> str:
    """ip | path | host | route | header:NAME | cookie:NAME | query:NAME."""
    if value in ("host", "route"):
        return str(value)
    if isinstance(value, str) and value.partition(":")[0] not in _KINDS:
        guess = nearest(value, _KINDS, {"source": "ip", "client": "ip", "url": "path", "uri": "path"})
        raise Invalid("must be ip, path, host, route, header:NAME, cookie:NAME or query:NAME", guess)
    return syntax.hash_key(value)


RATE_PATTERN = r"^\s*\d+(\.\d+)?\s*([KMGT]?i?B)?\s*/\s*[a-z]+\s*$"
Rate = Annotated[
    Speed,
    PlainValidator(rate),
    WithJsonSchema({"type": "string", "pattern": RATE_PATTERN, "examples": ["10/s", "100/m", "1MB/s"]}),
]
RateKey = Annotated[
    str, PlainValidator(rate_key), WithJsonSchema({"type": "string", "examples": ["ip", "header:X-Api-Key"]})
]
RateKeys = Annotated[list[RateKey], BeforeValidator(one_or_many, json_schema_input_type=RateKey | list[RateKey])]


class RateLimitTable(Table):
    """How much of one key passes; what is over gets 429."""

    rate: Rate | None = option(None, "How many in a time: 10/s, 100/m, 5000/h, 1/d; of bytes 1MB/s.")
    concurrent: Count = option(0, "Instead of a rate: how many requests at once. 0 = not limited.")
    of: Annotated[str, *choice("requests", "connections", "bytes", aliases={"conn": "connections"})] = option(
        "requests", "What is counted; connections only of a whole frontend. A rate in bytes counts bytes."
    )
    burst: Size = option(0, "How many more may come at once.")
    key: RateKeys = option(
        lambda: ["ip"], "What is counted apart; several make one key, an empty list counts all together."
    )
    ipv4_prefix: int = option(32, "Bits of an IPv4 address that make one client.", ge=0, le=32)
    ipv6_prefix: int = option(64, "Bits of an IPv6 address that make one client.", ge=0, le=128)
    exempt: Networks = option(list, "Networks that are not counted.")
    dry_run: bool = option(False, "Count and log what would be refused, but refuse nothing.")
    shared: bool = option(False, "Together with the other nodes that use the same Redis; needs [redis].")
    name: Name = option("", "Of the limit in header fields; otherwise its number.")

    @property
    def counted(self) -> str:
        """requests | connections | bytes | concurrent."""
        if self.concurrent:
            return "concurrent"
        return "bytes" if self.rate is not None and self.rate.sized else self.of


RateLimits = Annotated[
    list[RateLimitTable],
    BeforeValidator(many("rate"), json_schema_input_type=Rate | RateLimitTable | list[Rate | RateLimitTable]),
]


def redis_url(value: object) -> str:
    """redis://, rediss:// or unix://, or where such a URL is: env:NAME, file:PATH."""
    if not isinstance(value, str):
        raise Invalid("must be a URL such as redis://10.0.0.5:6379/0, env:NAME or file:PATH")
    if value.startswith(("env:", "file:")):
        if not value.partition(":")[2]:
            raise Invalid(f"must be {value} and a name")
    elif value and (urlsplit(value).scheme not in ("redis", "rediss", "unix") or re.search(r"\s", value)):
        raise Invalid("must be a URL such as redis://10.0.0.5:6379/0, env:NAME or file:PATH")
    return value


RedisUrl = Annotated[
    str, PlainValidator(redis_url), WithJsonSchema({"type": "string", "examples": ["redis://10.0.0.5:6379/0"]})
]


class RedisTable(Table):
    """Where nodes meet that share rates."""

    url: RedisUrl = option("", "redis://, rediss:// (TLS) or unix://, with its password; or env:NAME, or file:PATH.")
    interval: Positive = option(_REDIS.interval, "Between two exchanges.", shown=units.format_duration(_REDIS.interval))
    timeout: Positive = option(
        _REDIS.timeout, "For one; then each node limits alone.", shown=units.format_duration(_REDIS.timeout)
    )
    prefix: str = option(_REDIS.prefix, "Of the keys there.", max_length=64, pattern=r"^[!-~]*$")
