"""What GET /v1/routes and /v1/connections answer, as types."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

ConnectionState = Literal["idle", "sending", "queued", "waiting", "receiving", "tunnel", "closing", "flow"]


class RouteView(TypedDict):
    """A route of a frontend; the conditions that are given must all hold."""

    frontend: str
    position: Annotated[int, Field(description="From 1; the first that matches wins.")]
    name: Annotated[str, Field(description="Empty: it has none. 'default': the rest.")]
    host: list[str]
    path: list[str]
    methods: list[str]
    headers: list[str]
    query: list[str]
    source: list[str]
    action: Literal["backend", "redirect", "respond", "none"]
    target: Annotated[str, Field(description="The backend, the location, the status of the response.")]


class RouteList(TypedDict):
    routes: list[RouteView]


class RequestView(TypedDict):
    """What is under way on a connection."""

    line: Annotated[str, Field(description="Of the request, at most 256 bytes.")]
    backend: str
    server: str
    attempts: int
    seconds: Annotated[float, Field(description="Since its first byte.")]
    bytes_in: int
    bytes_out: int


class ConnectionView(TypedDict):
    """A connection of a client."""

    worker: int
    frontend: str
    client: str
    client_port: int
    tls: bool
    state: ConnectionState
    request: RequestView | None


class ConnectionList(TypedDict):
    total: Annotated[int, Field(description="Open over all workers.")]
    connections: list[ConnectionView]
