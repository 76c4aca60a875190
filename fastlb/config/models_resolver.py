"""Table of how the names of servers are looked up."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from fastlb import spec

from . import units
from .address import parse_server
from .suggest import Invalid
from .types import Positive, Table, one_or_many, option

_RESOLVER = spec.Resolver()


def _name_server(value: object) -> spec.Address:
    """A literal address, with a port or without (53). Raises `Invalid`."""
    try:
        return spec.Address(str(ipaddress.ip_address(value)), 53) if isinstance(value, str) else parse_server(value)
    except ValueError as error:
        if isinstance(error, Invalid):
            raise
    address = parse_server(value)
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        raise Invalid("a name server is given by its address, not by a name") from None
    return address


NameServer = Annotated[
    spec.Address,
    PlainValidator(_name_server),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.2", "10.0.0.2:53", "[::1]:5353"]}),
]


class ResolverTable(Table):
    """How names of servers are looked up."""

    nameservers: Annotated[
        list[NameServer],
        BeforeValidator(one_or_many, json_schema_input_type=NameServer | list[NameServer]),
    ] = option(list, "Name servers to ask, IP or IP:port; they tell how long an answer holds. None = the system.")
    interval: Positive = option(
        _RESOLVER.interval, "Between two look-ups of a name, where no TTL is known.",
        shown=units.format_duration(_RESOLVER.interval),
    )  # fmt: skip
    timeout: Positive = option(_RESOLVER.timeout, "For one look-up.", shown=units.format_duration(_RESOLVER.timeout))
    min_ttl: Positive = option(
        _RESOLVER.min_ttl, "Shorter TTLs count as this.", shown=units.format_duration(_RESOLVER.min_ttl)
    )
    max_ttl: Positive = option(
        _RESOLVER.max_ttl, "Longer TTLs count as this.", shown=units.format_duration(_RESOLVER.max_ttl)
    )
