"""What GET /v1/errors and /v1/logs answer, as types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict


class ErrorView(TypedDict):
    """A message that broke the protocol: the last one of its frontend or backend."""

    kind: Annotated[
        Literal["request", "response"], Field(description="request: of a frontend; response: of a backend.")
    ]
    proxy: Annotated[str, Field(description="Name of the frontend or backend.")]
    worker: int
    at: datetime
    reason: str
    status: Annotated[int, Field(description="Answered to the client; 0 = its response had begun.")]
    frontend: str
    server: Annotated[str | None, Field(description="That sent the response.")]
    client: str
    client_port: int
    part: Literal["head", "body"]
    position: Annotated[int, Field(description="Index into the bytes of the one that is wrong; their number: the end.")]
    offset: Annotated[int | None, Field(description="Bytes of the message before these; null = not known.")]
    length: Annotated[int, Field(description="Bytes that were at hand, of which these are some.")]
    bytes: Annotated[str, Field(description="Up to 1024 bytes around the fault, base64.")]
    text: Annotated[str, Field(description="The same for people, everything but printable ASCII escaped.")]
    count: Annotated[int, Field(description="Malformed messages so far, of this worker.")]


class ErrorList(TypedDict):
    errors: list[ErrorView]


class LogView(TypedDict):
    lines: Annotated[list[str], Field(description="Oldest first.")]
