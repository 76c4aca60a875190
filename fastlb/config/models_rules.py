"""Tables that change or answer messages: header rules, rewrite, redirect, respond."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from . import syntax
from .suggest import Invalid, listed
from .types import (
    HeaderName,
    HeaderValue,
    Location,
    PlainPath,
    RewrittenPath,
    RuledHeaderName,
    Table,
    one_or_many,
    option,
    shorthand,
)

REDIRECT_STATUSES = (301, 302, 303, 307, 308)

HeaderValues = Annotated[
    list[HeaderValue], BeforeValidator(one_or_many, json_schema_input_type=HeaderValue | list[HeaderValue])
]
HeaderNames = Annotated[
    list[RuledHeaderName], BeforeValidator(one_or_many, json_schema_input_type=RuledHeaderName | list[RuledHeaderName])
]


class HeaderRulesTable(Table):
    """Changes of a message's head, made in the order remove, set, add."""

    remove: HeaderNames = option(list, "Fields of these names are left out.")
    set: dict[RuledHeaderName, HeaderValue] = option(dict, "One field of this name and value replaces those there are.")
    add: dict[RuledHeaderName, HeaderValues] = option(dict, "A field more; a list adds one for each value.")


def _redirect_status(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in REDIRECT_STATUSES:
        raise Invalid(f"the status of a redirect is {listed(str(s) for s in REDIRECT_STATUSES)}")
    return value


RedirectStatus = Annotated[int, PlainValidator(_redirect_status), WithJsonSchema({"enum": list(REDIRECT_STATUSES)})]


class RedirectTable(Table):
    """Send the client elsewhere."""

    location: Location = option(..., "Where to; {scheme} {host} {port} {path} {query} {uri} are filled in.")
    status: RedirectStatus = option(302, "308 and 307 keep method and body, 301 and 302 often do not.")


Redirect = Annotated[
    RedirectTable, BeforeValidator(shorthand("location"), json_schema_input_type=Location | RedirectTable)
]


class RespondTable(Table):
    """A fixed response."""

    status: int = option(200, "Status code.", ge=200, le=599)
    body: str = option("", "Sent as UTF-8.")
    content_type: HeaderValue = option("text/plain; charset=utf-8", "Of the body.")
    headers: dict[RuledHeaderName, HeaderValue] = option(dict, "Further header fields.")


def _prefix_pair(value: object) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise Invalid('must be a list of the old and the new prefix, such as ["/old", "/new"]')
    return syntax.plain_path(value[0]), syntax.plain_path(value[1])


PrefixPair = Annotated[
    tuple[str, str],
    PlainValidator(_prefix_pair),
    WithJsonSchema({"type": "array", "items": {"type": "string", "pattern": "^/"}, "minItems": 2, "maxItems": 2}),
]


class RewriteTable(Table):
    """The path that the server sees."""

    strip_prefix: PlainPath = option("", "Taken off the front, at a '/' only: /api of /api/users leaves /users.")
    replace_prefix: PrefixPair | None = option(None, "[old, new]: the second takes the place of the first.")
    set: RewrittenPath = option("", "The whole path, perhaps with a query; wins over the other two.")


__all__ = [
    "HeaderName",
    "HeaderRulesTable",
    "Redirect",
    "RedirectTable",
    "RespondTable",
    "RewriteTable",
]
