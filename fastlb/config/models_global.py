"""Tables that hold for the whole program: global, admin, log, timeouts, limits."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import PlainValidator, WithJsonSchema

from fastlb import spec

from . import units
from .models_bandwidth import ByteRate
from .suggest import Invalid
from .types import (
    AccessLog,
    AccountName,
    Count,
    Duration,
    FilePath,
    HeaderName,
    HeaderValue,
    ListenAddress,
    Positive,
    Size,
    Table,
    choice,
    option,
)

MAX_WORKERS = 256
MAX_HEADER_BYTES = 64 * 1024
MAX_HEADER_COUNT = 256  # capacity of the parser's table of fields


def workers(value: object) -> int | str:
    """ "auto" or a number of processes. Raises `Invalid`."""
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int):
        if isinstance(value, str) and value.isdecimal():
            raise Invalid(f"must be a number without quotes: {value}")
        raise Invalid(f'must be "auto" or a number from 0 to {MAX_WORKERS}', "auto" if isinstance(value, str) else "")
    if not 0 <= value <= MAX_WORKERS:
        raise Invalid(f'must be "auto" or a number from 0 to {MAX_WORKERS}')
    return value


Workers = Annotated[
    int | str,
    PlainValidator(workers),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 0, "maximum": MAX_WORKERS}]}),
]


def _header_bytes(value: object) -> int:
    size = units.size(value)
    if not 1024 <= size <= MAX_HEADER_BYTES:
        raise Invalid("must be from 1KB to 64KB", "64KB" if size > MAX_HEADER_BYTES else "1KB")
    return size


HeaderBytes = Annotated[int, PlainValidator(_header_bytes), WithJsonSchema({"type": ["string", "integer"]})]


def token(value: object) -> str:
    """A bearer token (RFC 6750 section 2.1) or where to find one. Raises `Invalid`."""
    if not isinstance(value, str):
        raise Invalid("must be a text: the token, env:NAME or file:PATH")
    if value.startswith("env:"):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value[4:]):
            raise Invalid("must be env: and the name of an environment variable, such as env:FASTLB_TOKEN")
    elif value.startswith("file:"):
        if not value[5:]:
            raise Invalid("must be file: and a path")
    elif value and not re.fullmatch(r"[A-Za-z0-9\-._~+/]{16,}=*", value):
        raise Invalid("must have at least 16 characters, of letters, digits and -._~+/")
    return value


def web_url(value: object) -> str:
    """http or https, with a host. Raises `Invalid`."""
    if not isinstance(value, str):
        raise Invalid("must be a URL")
    if not value:
        return value
    try:
        parts = urlsplit(value)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if (
        not sound
        or parts.scheme not in ("http", "https")
        or not value.isascii()
        or re.search(r"[\x00-\x20\x7f]", value)
    ):
        raise Invalid("must be a URL such as https://example.com/hook")
    return value


WebUrl = Annotated[
    str, PlainValidator(web_url), WithJsonSchema({"type": "string", "examples": ["https://example.com/hook"]})
]
Token = Annotated[str, PlainValidator(token), WithJsonSchema({"type": "string", "examples": ["env:FASTLB_TOKEN"]})]


class GlobalTable(Table):
    """The process as a whole."""

    workers: Workers = option("auto", "Processes that carry traffic. auto = one a CPU; 0 = everything in one process.")
    max_connections: Count = option(
        0, "Client connections of one worker at a time. 0 = derived from the descriptor limit."
    )
    watch: bool = option(False, "Reload when the file changes.")
    overlay: FilePath = option("", "File of the changes made at run time, read at the start; relative to this file.")
    pid_file: FilePath = option("", "File that holds the process id while the program runs.")
    user: AccountName = option("", "User to become once the addresses are bound; needs root.")
    group: AccountName = option("", "Group to become; none = the user's own.")


class AdminTable(Table):
    """Where the program itself is watched and steered."""

    listen: ListenAddress | None = option(None, "Address of the stats page, the JSON API, /metrics and /healthz.")
    socket: str = option("", "Unix socket with the same API, open to its owner without a token.")
    token: Token = option(
        "", "Who shows it may change things on `listen`. The token itself, env:NAME or file:PATH. Empty = nobody may."
    )
    read_only: bool = option(False, "Take changes on `socket` alone, even from who has the token.")
    webhook: WebUrl = option("", "URL to which events (servers up and down, with reasons) are posted as JSON.")
    webhook_level: Annotated[str, *choice("info", "warning", "error", aliases={"warn": "warning"})] = option(
        "info", "Lowest level of events that are posted."
    )


class LogTable(Table):
    """Access and error log."""

    access: AccessLog = option(
        "stdout", "stdout, stderr, off, a file, syslog:udp://HOST:514 or syslog:unix:/dev/log.", shown="stdout"
    )
    format: Annotated[str, *choice("json", "httplog", "httpslog", "combined")] = option(
        "json", "Of the access log; httplog and httpslog are HAProxy's lines, combined that of Apache and nginx."
    )
    level: Annotated[
        str, *choice("debug", "info", "warning", "error", aliases={"notice": "info", "warn": "warning"})
    ] = option("info", "Lowest level of the error log, which goes to stderr.")


_TRACING = spec.Tracing()


class TracingTable(Table):
    """Traces (W3C Trace Context) of the frontends whose `forwarded.traceparent` is on."""

    sample: float = option(
        1.0, "Share of the traces begun here that are marked as recorded; others' marks are passed on.", ge=0, le=1
    )
    endpoint: WebUrl = option(
        "", "URL that spans of recorded traces are posted to, OTLP over HTTP. Needs fastlb[tracing]. Empty = no spans."
    )
    headers: dict[HeaderName, HeaderValue] = option(
        dict, "Fields of these posts, such as a token: the values, or env:NAME, or file:PATH."
    )
    service: str = option(_TRACING.service, "service.name of the spans.", min_length=1, max_length=255)
    timeout: Positive = option(
        _TRACING.timeout, "For one post, repeated where it fails.", shown=units.format_duration(_TRACING.timeout)
    )
    queue: int = option(
        _TRACING.queue, "Spans that may wait for the collector; further ones are dropped, and counted.",
        ge=100, le=1_000_000,
    )  # fmt: skip


_TIMEOUTS = spec.Timeouts()
_LIMITS = spec.Limits()


def _timeout(default: float, text: str, zero: str = "0 = no limit.") -> float:
    field: float = option(default, f"{text} {zero}", shown=units.format_duration(default))
    return field


class TimeoutsTable(Table):
    """How long to wait for what."""

    connect: Duration = _timeout(_TIMEOUTS.connect, "Connecting to a server, then another is tried.")
    header: Duration = _timeout(_TIMEOUTS.header, "The whole head of a request, else 408.")
    client: Duration = _timeout(_TIMEOUTS.client, "Between two reads of a request's body or two writes of a response.")
    server: Duration = _timeout(_TIMEOUTS.server, "Until the head of a response, and between two reads of its body.")
    idle: Duration = _timeout(_TIMEOUTS.idle, "A kept-alive client connection without a request.")
    tunnel: Duration = _timeout(_TIMEOUTS.tunnel, "A WebSocket, TCP session or another tunnel without traffic.")
    half_closed: Duration = _timeout(_TIMEOUTS.half_closed, "A tunnel without traffic of which one side has ended.")
    queue: Duration = _timeout(_TIMEOUTS.queue, "Waiting for a free server, then 503.")
    drain: Duration = _timeout(_TIMEOUTS.drain, "For what is in flight when the program stops.", "0 = it is cut off.")


class LimitsTable(Table):
    """How large a request may be, and how slow a client."""

    header_bytes: HeaderBytes = option(
        _LIMITS.header_bytes,
        "The whole head of a request, else 431. From 1KB to 64KB.",
        shown=units.format_size(_LIMITS.header_bytes),
    )
    header_count: int = option(_LIMITS.header_count, "Header fields of a request, else 431.", ge=1, le=MAX_HEADER_COUNT)
    uri: Size = option(_LIMITS.uri, "Bytes of the request target, else 414.", shown=units.format_size(_LIMITS.uri))
    body: Size = option(_LIMITS.body, "Body of a request, else 413. 0 = unlimited; bodies are streamed, never kept.")
    min_request_rate: ByteRate = option(
        0.0, "Bytes a second that the body of a request must come with, else 408. 0 = none.", shown=0
    )
    min_response_rate: ByteRate = option(
        0.0, "Bytes a second that a client must take of an answer, else it is reset. 0 = none.", shown=0
    )
    min_rate_window: Positive = option(
        _LIMITS.min_rate_window, "Over which the two are looked at.",
        shown=units.format_duration(_LIMITS.min_rate_window),
    )  # fmt: skip
