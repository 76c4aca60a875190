"""Limits of bandwidth of frontends, routes and backends."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from .models_rates import RATE_PATTERN, RateKeys, rate
from .suggest import Invalid
from .types import Networks, Size, Table, many, option


def byte_rate(value: object) -> float:
    """Bytes a second of "500KB/s"; 0 = no rate."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    bare = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    text = isinstance(value, str)
    try:
        found = rate(value)
    except Invalid:
        raise Invalid('must be bytes and a time, such as "500KB/s"', f"{value}B/s" if bare else "") from None
    if not found.sized:
        raise Invalid('must be bytes and a time, such as "500KB/s"', value.replace("/", "B/", 1) if text else "")  # type: ignore[attr-defined]
    return float(found)


ByteRate = Annotated[
    float,
    PlainValidator(byte_rate),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": RATE_PATTERN}, {"const": 0}], "examples": ["500KB/s", "10MB/s"]}
    ),
]


class BandwidthTable(Table):
    """How fast bytes go, of each request by itself or of all with the same key together."""

    response: ByteRate = option(0.0, "Bytes a second from servers to clients. 0 = as fast as they come.", shown=0)
    response_after: Size = option(0, "Bytes of each response that pass without limit first.")
    request: ByteRate = option(0.0, "Bytes a second from clients to servers. 0 = as fast as they come.", shown=0)
    request_after: Size = option(0, "Bytes of each request that pass without limit first.")
    key: RateKeys | None = option(
        None, "Who shares the rates: as in rate_limits, an empty list all together. Unset: each request has its own."
    )
    ipv4_prefix: int = option(32, "Bits of an IPv4 address that make one client.", ge=0, le=32)
    ipv6_prefix: int = option(64, "Bits of an IPv6 address that make one client.", ge=0, le=128)
    exempt: Networks = option(list, "Networks that are not limited.")


Bandwidths = Annotated[
    list[BandwidthTable],
    BeforeValidator(
        many("response"), json_schema_input_type=ByteRate | BandwidthTable | list[ByteRate | BandwidthTable]
    ),
]
