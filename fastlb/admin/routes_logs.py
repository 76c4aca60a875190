"""GET /v1/errors and /v1/logs: what clients and servers sent, so they are not for everybody (see access.PRIVATE)."""

from __future__ import annotations

import base64
import heapq
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from fastlb.admin import shapes_logs as shapes
from fastlb.admin import views
from fastlb.admin.context import Context, Json, problems
from fastlb.admin.problems import ApiError
from fastlb.admin.routes_events import HEARTBEAT, STREAM

LINES = 1000  # of the last ones, at most
STREAMS = 16  # at once
LOOK = 0.5  # seconds between two looks whether the program ends
MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"
# The time in a line: {"time":"2009-02-06T11:14:14.655Z" of json, [06/Feb/2009:12:14:14.655] of the other formats.
TIME = re.compile(rb'^\{"time":"([^"]+)|\[(\d\d)/(\w{3})/(\d{4}:\d\d:\d\d:\d\d(?:\.\d+)?)')


def router(context: Context) -> APIRouter:
    """Reading routes."""
    routes = APIRouter(prefix="/v1", tags=["logs"])
    open_streams = 0

    @routes.get("/errors", response_model=shapes.ErrorList, responses=problems(401, 403))
    async def errors() -> Json:
        """The last malformed request of each frontend and response of each backend, newest first."""
        answers = await context.running.team.ask("errors")
        newest: dict[tuple[str, str], tuple[int, Mapping[str, Any]]] = {}
        for slot, reports in answers.items():
            for report in reports or ():
                key = (report["kind"], report["proxy"])
                if key not in newest or newest[key][1]["at"] < report["at"]:
                    newest[key] = (slot, report)
        found = sorted(newest.values(), key=lambda one: -float(one[1]["at"]))
        answer: shapes.ErrorList = {"errors": [error_view(slot, report) for slot, report in found]}
        return Json(answer)

    @routes.get(
        "/logs",
        response_model=shapes.LogView,
        responses={200: {"content": {STREAM: {"schema": {"type": "string"}}}}, **problems(401, 403, 409, 503)},
    )
    async def logs(
        request: Request,
        lines: Annotated[int | None, Query(ge=0, le=LINES, description="How many of the last.")] = None,
    ) -> Response:
        """The last lines of the access log, as far as the workers have them in memory (some 32 KB each).

        With `Accept: text/event-stream` a stream of further lines as well, each the data of an event; an event `lost`
        says how many did not come, to a reader that does not keep up.
        """
        if STREAM in request.headers.get("accept", ""):
            if open_streams >= STREAMS:
                raise ApiError(503, f"{STREAMS} streams are open already.")
            logged(await context.running.team.tail.recent())
            stream = follow(0 if lines is None else lines)
            await anext(stream)  # who sees the answer begin misses no line from then on
            return StreamingResponse(stream, media_type=STREAM)
        found = await context.running.team.tail.recent()
        answer: shapes.LogView = {
            "lines": [shown(line) for line in last(logged(found), 100 if lines is None else lines)]
        }
        return Json(answer)

    async def follow(before: int) -> AsyncIterator[bytes]:
        """Nothing as soon as lines are read along, then events."""
        nonlocal open_streams
        open_streams += 1
        watch = None
        try:
            watch, found = await context.running.team.tail.watch()
            yield b""
            if before:
                yield b"".join(event(line) for line in last(found, before))
            silent = HEARTBEAT
            while not context.events.closed:
                news, lost = await watch.next(LOOK)
                silent += LOOK
                if news or lost:
                    silent = 0.0
                    parts = [event(line) for _, lines in news for line in lines.splitlines()]
                    if lost:
                        parts.append(b"event: lost\ndata: %d\n\n" % lost)
                    yield b"".join(parts)
                elif silent > HEARTBEAT:
                    silent = 0.0
                    yield b": alive\n\n"
        finally:
            open_streams -= 1
            if watch is not None:
                watch.close()

    return routes


def logged(found: Mapping[int, bytes | None]) -> dict[int, bytes]:
    """What there is; ApiError when the log is off."""
    there = {slot: lines for slot, lines in found.items() if lines is not None}
    if not there:
        raise ApiError(409, "There is no access log: log.access is off, or no worker is there.")
    return there


def last(found: Mapping[int, bytes | None], number: int) -> list[bytes]:
    """The last lines of all workers by their times; those of one worker stay as they were written."""
    by_worker = (timed((lines or b"").splitlines()) for _, lines in sorted(found.items()))
    merged = heapq.merge(*by_worker, key=lambda one: one[0])
    lines = [line for _, line in merged]
    return lines[-number:] if number else []


def timed(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Each line with a key of its time, never one before that of the line before."""
    newest = b""
    for line in lines:
        if match := TIME.search(line):
            iso, day, month, rest = match.groups()
            key = iso or b"%s%02d%s%s" % (rest[:4], MONTHS.find(month), day, rest[4:])
            newest = max(newest, key)
        yield newest, line


def event(line: bytes) -> bytes:
    return b"data: %s\n\n" % shown(line).encode()


def shown(line: bytes) -> str:
    """A line as text; what is not UTF-8 is escaped (httplog and combined pass such bytes on)."""
    return line.decode("utf-8", "backslashreplace")


def error_view(worker: int, report: Mapping[str, Any]) -> shapes.ErrorView:
    raw: bytes = report["bytes"]
    return {
        "kind": report["kind"],
        "proxy": report["proxy"],
        "worker": worker,
        "at": views.moment(report["at"]),
        "reason": report["reason"],
        "status": report["status"],
        "frontend": report["frontend"],
        "server": report["server"],
        "client": report["client"],
        "client_port": report["client_port"],
        "part": report["part"],
        "position": report["position"],
        "offset": report["offset"],
        "length": report["length"],
        "bytes": base64.b64encode(raw).decode(),
        "text": escaped(raw),
        "count": report["count"],
    }


def escaped(raw: bytes) -> str:
    """Printable ASCII as it is, CR LF as \\r\\n, a backslash doubled, everything else as \\xNN."""
    special = {0x0D: "\\r", 0x0A: "\\n", 0x09: "\\t", 0x5C: "\\\\"}
    return "".join(special.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}") for byte in raw)
