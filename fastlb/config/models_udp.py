"""Table of what is special about frontends of mode udp."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fastlb import spec

from . import units
from .types import Duration, Table, choice, option

FLOWS = ("tuple", "source", "packet")
MAX_FLOWS = 1_000_000

_UDP = spec.Udp()


class UdpTable(Table):
    """Flows of datagrams: who belongs together, and when it is over."""

    flow: Annotated[str, *choice(*FLOWS, aliases={"ip": "source", "session": "tuple", "datagram": "packet"})] = option(
        _UDP.flow,
        "What goes to one server: tuple, the datagrams of one client address and port; source, all of one client "
        "address; packet, each datagram by itself.",
    )
    idle: Duration = option(_UDP.idle, "A flow without datagrams ends.", shown=units.format_duration(_UDP.idle))
    requests: int = option(
        0, "Datagrams of the client in one flow; the next one begins another. 0 = unlimited.", ge=0, le=2**31 - 1
    )
    responses: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = option(
        None,
        "Datagrams that answer each one of the client; a flow ends when they have come. 0 = no answer is awaited; none "
        "= unknown, flows end by idle alone.",
    )
    max_flows: int = option(_UDP.max_flows, "Flows of one worker at a time.", ge=1, le=MAX_FLOWS)
    overflow: Annotated[str, *choice("evict", "refuse", aliases={"oldest": "evict", "drop": "refuse"})] = option(
        _UDP.overflow, "At max_flows: evict the flow that is quiet the longest, or refuse new ones."
    )
    amplification: int = option(
        0, "Bytes to the client, at most, for each byte of it, headers included. 0 = unlimited.", ge=0, le=2**31 - 1
    )
