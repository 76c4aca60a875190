"""A collector of traces: takes OTLP over HTTP, and reads it with OpenTelemetry's own definitions."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.helpers import wait_until


@dataclass
class Span:
    """What a user of traces sees."""

    name: str
    trace: str
    id: str
    parent: str  # '' = none
    kind: int
    status: int  # 0 unset, 2 error
    message: str
    start: int  # nanoseconds
    end: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Post:
    """One request."""

    path: str
    headers: dict[str, str]
    spans: list[Span] = field(default_factory=list)


def _value(any_value: Any) -> Any:
    return getattr(any_value, any_value.WhichOneof("value"))


def _read(body: bytes) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Span(
            one.name,
            one.trace_id.hex(),
            one.span_id.hex(),
            one.parent_span_id.hex(),
            one.kind,
            one.status.code,
            one.status.message,
            one.start_time_unix_nano,
            one.end_time_unix_nano,
            {a.key: _value(a.value) for a in one.attributes},
            {a.key: _value(a.value) for a in group.resource.attributes},
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for one in scope.spans
    ]


class Collector:
    """Listens while the `with` lasts. `status` is what it answers; other than 200, it keeps nothing."""

    def __init__(self, port: int = 0) -> None:
        self.posts: list[Post] = []
        self.status = 200
        self.refused = 0  # posts
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if collector.status == 200:
                    fields = {name.lower(): value for name, value in self.headers.items()}
                    collector.posts.append(Post(self.path, fields, _read(body)))
                else:
                    collector.refused += 1
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def spans(self) -> list[Span]:
        """All of them, in the order in which they came."""
        return [span for post in list(self.posts) for span in post.spans]

    def wait(self, count: int) -> list[Span]:
        """Spans, once there are so many."""
        wait_until(lambda: len(self.spans) >= count, 20, f"{count} spans, not {len(self.spans)}")
        return self.spans

    def of(self, path: str) -> Span:
        """The span of the request for that path, awaited."""

        def found() -> Span | None:
            return next((s for s in self.spans if s.attributes["url.path"] == path), None)

        span = wait_until(found, 20, f"the span of {path}")
        assert span is not None
        return span

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
