"""Table of servers that are not listed but found: those that a name stands for."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from fastlb import spec

from . import units
from .types import (
    MAX_TIER,
    MAX_WEIGHT,
    Count,
    DiscoveredName,
    Duration,
    ServiceName,
    Table,
    choice,
    many,
    option,
)

_DISCOVER = spec.Discover("")


class DiscoverTable(Table):
    """A name that stands for several servers."""

    dns: DiscoveredName = option(None, "Name and port: each address of the name is a server.")
    srv: ServiceName = option("", "Or a name with SRV records: each is a server, with its own port, weight and tier.")
    family: Annotated[str, *choice("any", "ipv4", "ipv6", aliases={"v4": "ipv4", "v6": "ipv6", "all": "any"})] = option(
        _DISCOVER.family, "Which addresses count."
    )
    max_servers: int = option(_DISCOVER.max_servers, "What is found beyond is left alone.", ge=1, le=65535)
    weight: int = option(1, "dns: of each server.", ge=0, le=MAX_WEIGHT)
    backup: bool = option(False, "They are used only while no other server is up.")
    tier: int = option(0, "Of each server; srv: of the records with the lowest priority number.", ge=0, le=MAX_TIER)
    max_connections: Count = option(0, "Of each server, requests at a time. 0 = the backend's.")
    send_proxy: Annotated[str, *choice("", "v1", "v2", "off")] = option("", "Instead of the backend's; off = none.")
    slow_start: Duration = option(
        _DISCOVER.slow_start,
        "A server that joins gets its full share after this long; slow_start of the backend wins.",
        shown=units.format_duration(_DISCOVER.slow_start),
    )


DiscoverTables = Annotated[
    list[DiscoverTable],
    BeforeValidator(
        many("dns"), json_schema_input_type=DiscoveredName | DiscoverTable | list[DiscoveredName | DiscoverTable]
    ),
]
