"""GET /v1/events: what happened lately, as a list or as a stream of server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import pydantic_core
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from fastlb.admin import shapes, views
from fastlb.admin.context import Context, Json, problems
from fastlb.admin.problems import ApiError
from fastlb.control.events import KEPT

STREAMS = 64  # at once
HEARTBEAT = 15.0  # seconds of silence after which a comment is sent, so that dead connections are found
STREAM = "text/event-stream"


def router(context: Context) -> APIRouter:
    """Reading routes."""
    routes = APIRouter(prefix="/v1", tags=["events"])
    open_streams = 0

    @routes.get(
        "/events",
        response_model=shapes.EventList,
        responses={200: {"content": {STREAM: {"schema": {"type": "string"}}}}, **problems(503)},
    )
    async def events(
        request: Request,
        after: Annotated[int | None, Query(ge=0, description="Only events with a higher number.")] = None,
        limit: Annotated[int, Query(ge=1, le=KEPT)] = 100,
    ) -> Response:
        """The newest `limit` events, or those after a number, oldest first.

        With `Accept: text/event-stream` a stream that goes on; it begins after `Last-Event-ID`, or after `after`, or
        with the next event.
        """
        if STREAM in request.headers.get("accept", ""):
            seen = request.headers.get("last-event-id", "")
            return streamed(int(seen) if seen.isascii() and seen.isdecimal() else after)
        found = context.events.newest(limit)[::-1] if after is None else context.events.after(after, limit)
        answer: shapes.EventList = {"last": context.events.last, "events": [views.event_view(e) for e in found]}
        return Json(answer)

    def streamed(after: int | None) -> Response:
        nonlocal open_streams
        if open_streams >= STREAMS:
            raise ApiError(503, f"{STREAMS} streams are open already.")
        ring = context.events
        # A number of the future is one of an earlier life of the program.
        seq = ring.last if after is None else after if after <= ring.last else 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal open_streams, seq
            open_streams += 1
            try:
                yield b"retry: 2000\n\n"
                while True:
                    news = ring.after(seq)
                    for event in news:
                        seq = event.seq
                        data = pydantic_core.to_json(views.event_view(event))
                        yield b"id: %d\nevent: %s\ndata: %s\n\n" % (seq, event.kind.encode(), data)
                    if not news:
                        yield b": alive\n\n"
                    if not await ring.wait(seq, HEARTBEAT):
                        return
            finally:
                open_streams -= 1

        return StreamingResponse(body(), media_type=STREAM)

    return routes
