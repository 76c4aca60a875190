"""Tables of who requests are from, and of copies of requests."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from fastlb import spec

from . import syntax, units
from .models_affinity import CookieName, Secret
from .suggest import Invalid, listed, nearest
from .types import (
    CheckPath,
    Count,
    Duration,
    FilePath,
    HeaderName,
    HeaderValue,
    RuledHeaderName,
    Share,
    Size,
    Table,
    choice,
    one_or_many,
    option,
    shorthand,
)

_BASIC = spec.BasicAuth()
_JWT = spec.Jwt()
_FORWARD = spec.ForwardAuth("")
_MIRROR = spec.Mirror("")
ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA", "HS256",
    "HS384", "HS512",
)  # fmt: skip


def _algorithm(value: object) -> str:
    if isinstance(value, str) and value.lower() == "none":
        raise Invalid("tokens without a signature are never accepted")
    if not isinstance(value, str) or value not in ALGORITHMS:
        raise Invalid(f"must be {listed(ALGORITHMS)}", nearest(str(value), ALGORITHMS))
    return value


def _url(value: object) -> str:
    found = syntax.text(value, "a URL")
    parts = urlsplit(found)
    if parts.scheme not in ("https", "http") or not parts.hostname or re.search(r"[\x00-\x20\x7f]", found):
        raise Invalid("must be a URL that begins with https:// or http://")
    return found


def _claim(value: object) -> str:
    found = syntax.text(value, "the name of a claim")
    if not found or any(ord(c) < 0x20 for c in found):
        raise Invalid("must be the name of a claim; dots lead into claims that are tables")
    return found


def _wanted(value: object) -> object:
    """`"*"` or `true`: the claim is there; a value, or several of which it has one."""
    if value == "*" or value is True:
        return []
    return one_or_many(value)


def texts(kind: Any) -> Any:
    """A value or a list of them."""
    return Annotated[list[kind], BeforeValidator(one_or_many, json_schema_input_type=kind | list[kind])]


Algorithm = Annotated[str, PlainValidator(_algorithm), WithJsonSchema({"type": "string", "enum": list(ALGORITHMS)})]
Url = Annotated[str, PlainValidator(_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})]
Claim = Annotated[str, PlainValidator(_claim), WithJsonSchema({"type": "string", "minLength": 1})]
Values = Annotated[
    list[str],
    BeforeValidator(_wanted, json_schema_input_type=str | bool | list[str]),
]
Algorithms = Annotated[
    list[Algorithm], BeforeValidator(one_or_many, json_schema_input_type=Algorithm | list[Algorithm])
]
Texts = Annotated[list[str], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])]
HeaderNames = Annotated[
    list[RuledHeaderName], BeforeValidator(one_or_many, json_schema_input_type=RuledHeaderName | list[RuledHeaderName])
]
SentNames = Annotated[
    list[HeaderName], BeforeValidator(one_or_many, json_schema_input_type=HeaderName | list[HeaderName])
]
Workers = Annotated[int, Field(ge=1, le=64)]


def _time(value: float) -> str:
    return units.format_duration(value) if value else "0"


class BasicTable(Table):
    """Names and hashed passwords."""

    file: FilePath = option(_BASIC.file, "Of htpasswd: bcrypt, SHA-crypt, yescrypt, Apache's MD5 or {SHA}.")
    users: Texts = option(list, "Lines of such a file, beside or in place of one.")
    realm: HeaderValue = option(_BASIC.realm, "What browsers show when they ask for a password.")
    user_header: RuledHeaderName | None = option(None, "Tells the server the name; what the client sends is dropped.")
    strip: bool = option(_BASIC.strip, "The server does not get Authorization.")
    cache: Duration = option(
        _BASIC.cache, "Credentials that were right are not hashed again for so long.", shown=_time(_BASIC.cache)
    )
    failures: Count = option(
        _BASIC.failures, "After so many wrong passwords within `window` an address gets 429. 0 = never."
    )
    window: Duration = option(_BASIC.window, "See `failures`.", shown=_time(_BASIC.window))
    threads: Workers = option(_BASIC.threads, "That a worker hashes passwords in.")


class JwtTable(Table):
    """Signed tokens (JWT): exactly one of secret, key and jwks tells how they are verified."""

    secret: Secret | None = option(None, "For HS256 and the like: text, env:NAME or file:PATH; 32 bytes at least.")
    key: FilePath = option(_JWT.key, "File of a public key or certificate, PEM.")
    jwks: Url | None = option(None, "URL of a set of keys.")
    jwks_ca: FilePath = option(_JWT.jwks_ca, "File of authorities for the URL's certificate; none = the system's.")
    refresh: Duration = option(_JWT.refresh, "The set is fetched again after so long.", shown=_time(_JWT.refresh))
    refresh_min: Duration = option(
        _JWT.refresh_min,
        "And at most so often when a token names a key that is not in it.",
        shown=_time(_JWT.refresh_min),
    )
    stale: Duration = option(
        _JWT.stale, "Old keys are used for so long while fetching fails; then 503.", shown=_time(_JWT.stale)
    )
    timeout: Duration = option(_JWT.timeout, "Of a fetch.", shown=_time(_JWT.timeout))
    algorithms: Algorithms = option(list, "Only these; none given = all that the key is for.")
    issuer: Texts = option(list, "One of these, or the token is refused.")
    audience: Texts = option(list, "One of these, or the token is refused.")
    leeway: Duration = option(_JWT.leeway, "That clocks may differ by.", shown=_time(_JWT.leeway))
    expires: bool = option(_JWT.expires, "A token that says no end is refused.")
    require: dict[Claim, Values] = option(
        dict, "Claims and what they must be, or one of several; `*` = there. Else 403. Dots lead into tables."
    )
    headers: dict[Claim, RuledHeaderName] = option(
        dict, "Claims and the headers that tell them to the server; what the client sends of that name is dropped."
    )
    user_claim: Claim = option(_JWT.user_claim, "With the name for the log.")
    cookie: CookieName | None = option(None, "That may hold the token where there is no Authorization.")
    realm: HeaderValue = option(_JWT.realm, "Of the answer to who has no token.")
    strip: bool = option(_JWT.strip, "The server does not get Authorization.")
    cache: Duration = option(
        _JWT.cache,
        "A token that was right is not verified again for so long, and never beyond its end.",
        shown=_time(_JWT.cache),
    )
    failures: Count = option(_JWT.failures, "After so many wrong tokens in `window` an address gets 429. 0 = never.")
    window: Duration = option(_JWT.window, "See `failures`.", shown=_time(_JWT.window))
    max_bytes: Size = option(_JWT.max_bytes, "Of a token; longer ones are refused unread.", shown="8KB")
    threads: Workers = option(_JWT.threads, "That a worker verifies tokens in.")


class ForwardTable(Table):
    """A service that is asked about each request: 2xx lets it through, 3xx and 4xx go to the client."""

    backend: str = option(..., "The service.")
    path: CheckPath = option(_FORWARD.path, "What it is asked for; the request's own is in X-Forwarded-Uri.")
    timeout: Duration = option(_FORWARD.timeout, "For its answer.", shown=_time(_FORWARD.timeout))
    on_error: Annotated[str, *choice("deny", "allow", aliases={"fail_open": "allow", "fail_closed": "deny"})] = option(
        _FORWARD.on_error, "When there is none, or 5xx: 503, or the request goes on as if nobody had been asked."
    )
    send: SentNames = option(list, "Headers of the request that it gets; none given = all.")
    headers: HeaderNames = option(
        list, "Headers of its answer that the server gets; what the client sends of that name is dropped."
    )
    response_headers: HeaderNames = option(list, "Headers of its answer that the client gets with the server's answer.")
    refusal_headers: HeaderNames = option(
        lambda: list(_FORWARD.refusal_headers), "Headers of its answer that a refused client gets."
    )
    user_header: HeaderName | None = option(None, "Header of its answer with the name for the log.")
    max_body: Size = option(_FORWARD.max_body, "Of a refusal; a longer one gets a page of ours.", shown="64KB")


class AuthTable(Table):
    """One way of telling who requests are from: exactly one of basic, jwt and forward."""

    basic: BasicTable | None = option(None, "Names and hashed passwords.")
    jwt: JwtTable | None = option(None, "Signed tokens.")
    forward: ForwardTable | None = option(None, "A service is asked.")


class MirrorTable(Table):
    """Copies of requests for a second backend, whose answers are compared and thrown away."""

    backend: str = option(..., "Gets the copies.")
    percent: Share = option(_MIRROR.percent, "Share of the requests.", shown="100%")
    max_concurrent: Annotated[int, Field(ge=1, le=65536)] = option(
        _MIRROR.max_concurrent, "Copies under way at a time, a worker; beyond, none is made."
    )
    max_body: Size = option(_MIRROR.max_body, "Requests with a longer body are not copied.", shown="64KB")
    timeout: Duration = option(_MIRROR.timeout, "Of a copy in all.", shown=_time(_MIRROR.timeout))
    compare: bool = option(_MIRROR.compare, "Compare the answers; see `fastlb ctl mirrors`.")
    compare_headers: HeaderNames = option(lambda: list(_MIRROR.compare_headers), "Headers that are compared.")
    compare_body: bool = option(_MIRROR.compare_body, "Compare the bodies, by length and hash.")
    compare_max: Size = option(
        _MIRROR.compare_max, "Bytes of a body that are hashed; of longer ones the length counts.", shown="1MB"
    )
    examples: Annotated[int, Field(ge=0, le=1000)] = option(
        _MIRROR.examples, "Differing answers that are kept to be looked at, a worker."
    )
    log: bool = option(_MIRROR.log, "Differences are in the error log at level info, a few a second.")


Mirror = Annotated[MirrorTable, BeforeValidator(shorthand("backend"), json_schema_input_type=str | MirrorTable)]
