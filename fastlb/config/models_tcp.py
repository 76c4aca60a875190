"""Tables of socket options."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from . import syntax
from .suggest import Invalid
from .types import Count, Duration, Table, option

MAX_INTERFACE = 15


def _interface(value: object) -> str:
    if not isinstance(value, str) or len(value.encode()) > MAX_INTERFACE or not value.isprintable() or "/" in value:
        raise Invalid(f"must be the name of an interface, of at most {MAX_INTERFACE} characters")
    return value


def _source(value: object) -> str:
    if value in ("", "client"):
        return str(value)
    if not isinstance(value, str):
        raise Invalid('must be an address of this machine or "client"')
    try:
        return syntax.ip_literal(value)
    except Invalid:
        raise Invalid('must be an address of this machine or "client"') from None


Interface = Annotated[str, PlainValidator(_interface), WithJsonSchema({"type": "string", "examples": ["eth0"]})]
Source = Annotated[str, PlainValidator(_source), WithJsonSchema({"type": "string", "examples": ["10.0.0.9", "client"]})]
Byte = Annotated[int, Field(ge=0, le=255)]
Mark = Annotated[int, Field(ge=0, le=2**31 - 1)]


class KeepaliveTable(Table):
    """Probes of connections without traffic, which find out that the other side is gone."""

    idle: Duration = option(0.0, "Without traffic before the first. 0 = the kernel's.", shown="0")
    interval: Duration = option(0.0, "Between two. 0 = the kernel's.", shown="0")
    count: Annotated[int, Field(ge=0, le=127)] = option(
        0, "Lost ones in a row that end the connection. 0 = the kernel's."
    )


def _keepalive(value: object) -> object:
    """true is the table with nothing in it, false is none, a duration is `idle`."""
    if isinstance(value, bool):
        return {} if value else None
    return {"idle": value} if isinstance(value, str) else value


Keepalive = Annotated[
    KeepaliveTable | None, BeforeValidator(_keepalive, json_schema_input_type=bool | Duration | KeepaliveTable)
]


class ListenTcpTable(Table):
    """Options of a listening socket and of the connections that come by it."""

    keepalive: Keepalive = option(None, "Probe idle clients; true, a duration or a table.", shown=False)
    user_timeout: Duration = option(
        0.0, "A client that confirms nothing of what was sent for so long is gone. 0 = the kernel's.", shown="0"
    )
    nodelay: bool = option(True, "Send small pieces at once.")
    backlog: Count = option(0, "Connections that may wait to be accepted, a worker. 0 = as many as the kernel allows.")
    defer_accept: Duration = option(
        0.0, "Wake up for a client when its first byte is there, or after so long. 0 = at once.", shown="0"
    )
    fastopen: Count = option(0, "Clients that may send with their SYN (TCP Fast Open) at a time. 0 = none.")
    interface: Interface = option("", "Take only what comes by this interface.")
    v6only: bool = option(True, "false, of [::]: one socket for both families, with v4-mapped addresses.")
    mark: Mark = option(0, "Mark of packets for routing and firewalls. 0 = none.")
    tos: Byte = option(0, "Type of service, or traffic class, of packets.")


class ServerTcpTable(Table):
    """Options of the connections to servers."""

    keepalive: Keepalive = option(None, "Probe idle servers; true, a duration or a table.", shown=False)
    user_timeout: Duration = option(
        0.0, "A server that confirms nothing of what was sent for so long is gone. 0 = the kernel's.", shown="0"
    )
    nodelay: bool = option(True, "Send small pieces at once.")
    interface: Interface = option("", "Leave by this interface.")
    mark: Mark = option(0, "Mark of packets for routing and firewalls. 0 = none.")
    tos: Byte = option(0, "Type of service, or traffic class, of packets.")
    source: Source = option("", "Address to come from; client = that of the client itself (mode tcp). Empty = any.")
