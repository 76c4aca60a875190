"""Tables of affinity: how clients are kept at their servers."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from fastlb import spec

from . import syntax, units
from .suggest import Invalid
from .types import Duration, HashKey, PlainPath, Table, choice, one_or_many, option, shorthand

_AFFINITY = spec.Affinity()
_DOMAIN = re.compile(r"\.?[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*\Z")


def secret(value: object) -> str:
    """A text of at least 16 characters, env:NAME or file:PATH."""
    found = syntax.text(value, "a text of at least 16 characters, env:NAME or file:PATH")
    kind, colon, rest = found.partition(":")
    if colon and kind in ("env", "file"):
        if not rest:
            raise Invalid(f"{kind}: names nothing")
    elif len(found) < 16:
        raise Invalid("must have at least 16 characters, or be env:NAME or file:PATH")
    return found


def cookie_name(value: object) -> str:
    found = syntax.text(value, "the name of a cookie")
    if not re.fullmatch(syntax.TOKEN_PATTERN, found):
        raise Invalid("not a valid cookie name")
    return found


def cookie_domain(value: object) -> str:
    found = syntax.text(value, "a host name")
    if found and not _DOMAIN.match(found):
        raise Invalid("not a valid host name")
    return found


def cookie_path(value: object) -> str:
    found = syntax.plain_path(value)
    if ";" in found or "," in found:
        raise Invalid("the path of a cookie has no ';' and no ','")
    return found


Secret = Annotated[
    str, PlainValidator(secret), WithJsonSchema({"type": "string", "examples": ["env:FASTLB_SECRET", "file:/run/key"]})
]
Secrets = Annotated[list[Secret], BeforeValidator(one_or_many, json_schema_input_type=Secret | list[Secret])]
CookieName = Annotated[str, PlainValidator(cookie_name), WithJsonSchema({"type": "string"})]
CookieDomain = Annotated[str, PlainValidator(cookie_domain), WithJsonSchema({"type": "string"})]
CookiePath = Annotated[PlainPath, PlainValidator(cookie_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
_TYPES = choice(
    "cookie",
    "learn",
    "table",
    aliases={"insert": "cookie", "sticky": "cookie", "app_cookie": "learn", "stick": "table", "source": "table"},
)
AffinityType = Annotated[str, *_TYPES]


class AffinityTable(Table):
    """How clients are kept at their servers."""

    type: AffinityType = option(
        _AFFINITY.type, "cookie: one that fastlb gives; learn: one of the application; table: any key of the request."
    )
    name: CookieName = option(_AFFINITY.name, "cookie, learn: name of the cookie.")
    on_unavailable: Annotated[str, *choice("rebalance", "fail")] = option(
        _AFFINITY.on_unavailable, "When the client's server is down or full: another server, or 503."
    )
    secrets: Secrets = option(
        list,
        "cookie: signs it; further ones are still accepted. None = made at the start. Text, env:NAME or file:PATH.",
    )
    path: CookiePath = option(_AFFINITY.path, "cookie: its Path.")
    domain: CookieDomain = option(_AFFINITY.domain, "cookie: its Domain.")
    secure: Annotated[str, *choice("auto", "always", "never")] = option(
        _AFFINITY.secure, "cookie: Secure; auto = where the client came by TLS."
    )
    http_only: bool = option(_AFFINITY.http_only, "cookie: HttpOnly, hidden from scripts.")
    same_site: Annotated[str, *choice("Lax", "Strict", "None")] = option(_AFFINITY.same_site, "cookie: its SameSite.")
    private: bool = option(_AFFINITY.private, "cookie: the answer that gives it says Cache-Control: private.")
    max_age: Duration = option(_AFFINITY.max_age, "cookie: its Max-Age. 0 = until the browser is closed.", shown="0")
    max_idle: Duration = option(
        _AFFINITY.max_idle, "cookie: without a request for so long it no longer counts. 0 = off.", shown="0"
    )
    max_life: Duration = option(
        _AFFINITY.max_life, "cookie: so long after it was first given it no longer counts. 0 = off.", shown="0"
    )
    key: HashKey = option(_AFFINITY.key, "table: what tells clients apart.")
    ipv4_prefix: int = option(
        _AFFINITY.ipv4_prefix, "table: bits of an IPv4 address that make one client.", ge=0, le=32
    )
    ipv6_prefix: int = option(
        _AFFINITY.ipv6_prefix, "table: bits of an IPv6 address that make one client.", ge=0, le=128
    )
    size: int = option(_AFFINITY.size, "learn, table: entries; the one unused for longest leaves.", ge=1, le=800_000)
    expire: Duration = option(
        _AFFINITY.expire,
        "learn, table: an entry leaves without a request for so long. 0 = never.",
        shown=units.format_duration(_AFFINITY.expire),
    )


Affinity = Annotated[
    AffinityTable, BeforeValidator(shorthand("type"), json_schema_input_type=AffinityType | AffinityTable)
]
