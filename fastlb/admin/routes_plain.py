"""Outside /v1: /healthz, /readyz, /metrics, HAProxy's CSV under the addresses that its readers use, the stats page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse

from fastlb.admin import csv_stats, metrics, page
from fastlb.admin.board import in_turns
from fastlb.admin.context import Context, problems
from fastlb.admin.exposition import OPENMETRICS, TEXT, FilterError, parse_filter, wants_openmetrics
from fastlb.admin.problems import ApiError

TEXT_ANSWER = {"content": {"text/plain": {"schema": {"type": "string"}}}}


def router(context: Context) -> APIRouter:
    """Reading routes outside /v1."""
    routes = APIRouter(tags=["for other programs"])

    @routes.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """The program is alive."""
        return "ok\n"

    @routes.get("/readyz", response_class=PlainTextResponse, responses={503: TEXT_ANSWER})
    async def readyz() -> PlainTextResponse:
        """200 while traffic is taken; 503 before the workers accept, and while they drain."""
        if context.ready:
            return PlainTextResponse("ready\n")
        return PlainTextResponse(f"{context.running.phase}\n", 503)

    @routes.get("/metrics", response_class=PlainTextResponse, responses=problems(400))
    async def metrics_(request: Request) -> Response:
        """For Prometheus, as text 0.0.4 or, if asked for, OpenMetrics.

        `scope=global|frontend|backend|server` (repeated), `metrics=a,-b` (names with * and ?), `no-maint`,
        `extra-counters`.
        """
        try:
            chosen = parse_filter(request.query_params.multi_items(), metrics.SCOPES)
        except FilterError as error:
            raise ApiError(400, str(error)) from error
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        exporter = metrics.Exporter(context.board, chosen)
        await exporter.read()
        return StreamingResponse(in_turns(exporter.lines(openmetrics)), media_type=OPENMETRICS if openmetrics else TEXT)

    async def csv_lines() -> AsyncIterator[bytes]:
        frontends = context.board.frontends()
        backends = await context.board.backends()
        async for piece in in_turns(csv_stats.lines(frontends, backends, context.region)):
            yield piece

    def csv() -> Response:
        return StreamingResponse(csv_lines(), media_type="text/plain; charset=utf-8")

    @routes.get("/stats;csv", response_class=PlainTextResponse)
    async def stats_csv() -> Response:
        """HAProxy's statistics as CSV; also /;csv, /stats?csv, /haproxy?stats;csv."""
        return csv()

    @routes.get("/;csv", include_in_schema=False)
    async def root_csv() -> Response:
        return csv()

    @routes.get("/haproxy", include_in_schema=False)
    @routes.get("/haproxy;csv", include_in_schema=False)
    @routes.get("/haproxy_stats;csv", include_in_schema=False)
    async def haproxy(request: Request) -> Response:
        if request.url.path.endswith(";csv") or asks_for_csv(request):
            return csv()
        return RedirectResponse("/stats")

    @routes.get("/", include_in_schema=False)
    async def root(request: Request) -> Response:
        return csv() if asks_for_csv(request) else RedirectResponse("/stats")

    @routes.get("/stats", response_class=HTMLResponse)
    async def stats(
        request: Request,
        backend: Annotated[str, Query(max_length=200)] = "",
        server: Annotated[str, Query(max_length=200)] = "",
        q: Annotated[str, Query(max_length=200)] = "",
        state: Annotated[str, Query(max_length=20)] = "",
        number: Annotated[int, Query(alias="page", ge=1, le=1000)] = 1,
        part: Annotated[str, Query(max_length=20)] = "",
    ) -> Response:
        """The page for people. `?csv` gives HAProxy's statistics instead."""
        if asks_for_csv(request):
            return csv()
        if backend:
            context.backend(backend)
        if server:
            context.server(backend, server)
        changes = request.scope.get("fastlb.changes", "no")
        query = page.Query(backend, server, q, state, number)

        async def body() -> AsyncIterator[bytes]:
            async for piece in page.render(context, query, changes, whole=part != "main"):
                yield piece.encode()
                await asyncio.sleep(0)

        headers = {"Content-Security-Policy": page.POLICY}
        return StreamingResponse(body(), headers=headers, media_type="text/html; charset=utf-8")

    return routes


def asks_for_csv(request: Request) -> bool:
    """Whether 'csv' is one of the words of the query: ?csv, ?stats;csv, ?stats;csv;norefresh."""
    return "csv" in re.split("[;&]", request.url.query)
