"""Tables of who gets through and where to: access, splits, faults."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from fastlb import spec

from . import units
from .suggest import Invalid
from .types import Count, Duration, HashKey, HeaderName, Name, Networks, Share, Table, choice, many, option

_ACCESS = spec.Access()
_FAULT = spec.Fault()


class AccessTable(Table):
    """Networks that may send requests."""

    allow: Networks = option(list, "Only these; none given = everybody.")
    deny: Networks = option(list, "Not these, even where they are part of an allowed one.")
    action: Annotated[str, *choice("forbid", "tarpit", "drop", aliases={"deny": "forbid", "close": "drop"})] = option(
        _ACCESS.action, "What the others get: 403, 403 after a while, or the end of the connection without an answer."
    )
    tarpit: Duration = option(
        _ACCESS.tarpit, "How long a tarpit holds a request.", shown=units.format_duration(_ACCESS.tarpit)
    )
    tarpit_max: Count = option(
        _ACCESS.tarpit_max, "Requests in the tarpits of a worker at a time; those beyond are dropped."
    )


def _access(value: object) -> object:
    """A list of networks is the allowed ones."""
    return {"allow": value} if isinstance(value, str | list) else value


Access = Annotated[AccessTable, BeforeValidator(_access, json_schema_input_type=Networks | AccessTable)]


class FaultTable(Table):
    """A fault made on purpose, to see how clients take it."""

    percent: Share = option(_FAULT.percent, "Share of the requests.", shown="100%")
    delay: Duration = option(_FAULT.delay, "They wait so long first.", shown="0")
    abort: Annotated[int, Field(ge=0, le=599)] = option(_FAULT.abort, "They get this status instead; 0 = none.")
    header: HeaderName | None = option(None, "Only requests that have this header field.")


Faults = Annotated[
    list[FaultTable], BeforeValidator(many("percent"), json_schema_input_type=FaultTable | list[FaultTable])
]


def _weights(value: object) -> object:
    if isinstance(value, dict) and "weights" not in value and "key" not in value:
        return {"weights": value}
    return value


def _some_weight(value: object) -> object:
    if isinstance(value, dict) and value and all(weight == 0 for weight in value.values()):
        raise Invalid("every weight is 0")
    return value


Weights = Annotated[dict[Name, Annotated[int, Field(ge=0, le=65535)]], BeforeValidator(_some_weight)]


class SplitTable(Table):
    """A route's requests shared among backends."""

    weights: Weights = option(..., "Backends and their weights.")
    key: HashKey | None = option(None, "What keeps a client at its side, such as ip or cookie:NAME; none = nothing.")


Split = Annotated[SplitTable, BeforeValidator(_weights, json_schema_input_type=Weights | SplitTable)]
