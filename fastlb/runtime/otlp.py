"""From the engine's records of finished requests to OpenTelemetry's spans, and to a collector (OTLP over HTTP).

Imported only where spans are exported: it needs the extra `tracing`. Names of attributes are those of the semantic
conventions for HTTP servers; what these have no name for begins with `fastlb.`.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from fastlb import __version__
from fastlb.control.secrets import read_secret
from fastlb.engine.span_buffer import HEAD, NAMES
from fastlb.spec import Tracing

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
DEFAULT_PATH = "/v1/traces"
FIXED = 19  # fields of HEAD before the lengths

_SIZE = struct.Struct("<I")
_HEAD = struct.Struct(HEAD)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status(StatusCode.UNSET)
_SCOPE = InstrumentationScope("fastlb", __version__)


class Exporter:
    """Posts spans. Not for the loop's thread: `send` blocks for up to `tracing.timeout`.

    Raises ConfigError when a header's value cannot be found.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._resource = Resource.create(
            {
                "service.name": tracing.service,
                "service.version": __version__,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
                "host.name": socket.gethostname(),
            }
        )
        headers = {
            name: read_secret(value, f"tracing.headers.{name}").decode("latin-1") for name, value in tracing.headers
        }
        self._otlp = OTLPSpanExporter(url_of(tracing.endpoint), headers=headers, timeout=tracing.timeout)
        self._said = _Said()

    def send(self, records: bytes) -> str:
        """Posts the spans; '' or why the collector has not taken them."""
        spans = list(spans_of(records, self._resource))
        self._said.text = ""
        if self._otlp.export(spans) is SpanExportResult.SUCCESS:
            return ""
        return self._said.text or "not taken"

    def give_up(self) -> None:
        """From any thread: `send` returns soon."""
        self._otlp.shutdown()  # type: ignore[no-untyped-call]


class _Said(logging.Handler):
    """Keeps the library's last words, which it tells to a logger alone, and keeps them out of standard error."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        logger.handlers[:] = [self]
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def url_of(endpoint: str) -> str:
    """Where to post; an endpoint without a path means the usual one."""
    _, _, rest = endpoint.partition("://")
    return endpoint.rstrip("/") + DEFAULT_PATH if "/" not in rest.rstrip("/") else endpoint


def spans_of(records: bytes, resource: Resource) -> Iterator[ReadableSpan]:
    """The spans of what `SpanBuffer.take` gave. O(bytes)."""
    at = 0
    while at < len(records):
        (size,) = _SIZE.unpack_from(records, at)
        yield _span(records[at + _SIZE.size : at + size], resource)
        at += size


def _span(record: bytes, resource: Resource) -> ReadableSpan:
    fields = _HEAD.unpack_from(record)
    (
        start_us, bytes_in, bytes_out, head, queue, connect, response, total_us, status, client_port, https, minor,
        retries, redispatched, term, trace_id, span_id, parent_id,
    ) = fields[:18]  # fmt: skip
    text = _texts(record, fields[18:])
    method, target = _request(text["line"])
    path, question, query = target.partition("?")
    attributes: dict[str, str | int | float | bool] = {
        "http.request.method": method if method in METHODS else "_OTHER",
        "url.scheme": "https" if https else "http",
        "url.path": path,
        "network.protocol.version": f"1.{minor}",
        "client.address": text["client"],
        "client.port": client_port,
        "http.request.size": bytes_in,
        "http.response.size": bytes_out,
        "fastlb.frontend": text["frontend"],
        "fastlb.request_id": text["request_id"],
        "fastlb.termination": term.decode("ascii"),
        "fastlb.retries": retries,
        "fastlb.redispatched": bool(redispatched),
    }
    if method not in METHODS:
        attributes["http.request.method_original"] = method
    if question:
        attributes["url.query"] = query
    if status:
        attributes["http.response.status_code"] = status
    for name, key in _COPIED:
        if text[key]:
            attributes[name] = text[key]
    for name, microseconds in (("head", head), ("queue", queue), ("connect", connect), ("response", response)):
        if microseconds >= 0:
            attributes[f"fastlb.{name}_ms"] = microseconds / 1000
    failed = _failure(status, term, text["reason"])
    if failed:
        attributes["error.type"] = failed
    route = text["route"]
    named = method if method in METHODS else "HTTP"
    trace = int(trace_id, 16)
    return ReadableSpan(
        # A route's own name says as much as its pattern, and there are few of them; its number says nothing.
        name=f"{named} {route}" if route and route != "default" and not route.isdecimal() else named,
        context=SpanContext(trace, int(span_id, 16), False, _SAMPLED),
        parent=SpanContext(trace, int(parent_id, 16), True, _SAMPLED) if parent_id[0] else None,
        resource=resource,
        attributes=attributes,
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR, text["reason"] or None) if failed else _UNSET,
        start_time=start_us * 1000,
        end_time=(start_us + total_us) * 1000,
        instrumentation_scope=_SCOPE,
    )


_COPIED = (
    ("server.address", "host"),  # without its port, as routes see it
    ("user_agent.original", "user_agent"),
    ("fastlb.route", "route"),
    ("fastlb.backend", "backend"),
    ("fastlb.server", "server"),
    ("fastlb.reason", "reason"),
)


def _texts(record: bytes, lengths: Sequence[int]) -> dict[str, str]:
    found = {}
    at = _HEAD.size
    for name, length in zip(NAMES, lengths, strict=True):
        found[name] = record[at : at + length].decode("utf-8", "replace")
        at += length
    return found


def _request(line: str) -> tuple[str, str]:
    """Method, and path with query, of a request line; a target of absolute form loses scheme and host."""
    method, _, rest = line.partition(" ")
    target = rest.partition(" ")[0]
    if not target.startswith("/") and "://" in target:
        target = "/" + target.partition("://")[2].partition("/")[2]
    return method, target


def _failure(status: int, term: bytes, reason: str) -> str:
    """error.type where the request has failed: of a server's span a status below 500 is no error of the server."""
    if status >= 500:
        return str(status)
    # 'C': the client left, 'P': it was refused, 'L': answered here. The rest ended as nobody had meant.
    return "_OTHER" if not status or term[:1] not in (b"-", b"C", b"c", b"P", b"L") else ""
