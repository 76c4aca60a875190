"""GET /v1/...: the state of everything."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from fastlb import __version__
from fastlb.admin import shapes, shapes_traffic, traffic, views
from fastlb.admin.board import BATCH
from fastlb.admin.context import Context, Json, problems
from fastlb.admin.problems import ApiError
from fastlb.admin.totals import process_of
from fastlb.admin.workers import open_files, worker_facts

Name = Annotated[str, Path(max_length=200)]
WithHistory = Annotated[bool, Query(alias="history", description="With the last two minutes, a value a second.")]
PAGE = 1000


def router(context: Context) -> APIRouter:
    """Reading routes. Answers are made as plain dictionaries of the declared types and not checked again."""
    routes = APIRouter(prefix="/v1", tags=["state"])
    board = context.board

    @routes.get("/info", response_model=shapes.InfoView)
    async def info(request: Request) -> Json:
        """The program: version, workers, limits."""
        running, service = context.running, context.running.service
        process = process_of(board, board.frontends())
        answer: shapes.InfoView = {
            "version": __version__,
            "phase": running.phase.value,
            "ready": context.ready,
            "pid": running.pid,
            "started_at": views.moment(running.started_at),
            "uptime": board.up_seconds,
            "config": service.spec.source,
            "generation": process.generation,
            "reloads": process.reloads,
            "open_file_limit": service.descriptors,
            "open_files": open_files(running.pid),
            "max_connections": service.max_connections,
            "changes": request.scope.get("fastlb.changes", "no"),
            "totals": {
                "connections": process.connections,
                "connections_total": process.connections_total,
                "requests_total": process.requests_total,
                "bytes_in": process.bytes_in,
                "bytes_out": process.bytes_out,
                "connections_per_second": process.connection_rate,
                "requests_per_second": process.request_rate,
            },
            "workers": [views.worker_view(worker) for worker in worker_facts(running)],
        }
        return Json(answer)

    @routes.get("/workers", response_model=shapes.WorkerList)
    async def workers() -> Json:
        """Every worker slot."""
        answer: shapes.WorkerList = {"workers": [views.worker_view(w) for w in worker_facts(context.running)]}
        return Json(answer)

    @routes.get("/frontends", response_model=shapes.FrontendList)
    async def frontends(history: WithHistory = False) -> Json:
        """Every frontend."""
        rows = board.frontends()
        answer: shapes.FrontendList = {
            "frontends": [views.frontend_view(row, context.region, history=history) for row in rows]
        }
        return Json(answer)

    @routes.get("/routes", response_model=shapes_traffic.RouteList)
    async def routes_() -> Json:
        """What the frontends match requests with, in order; the last of each is where the rest goes."""
        answer: shapes_traffic.RouteList = {"routes": list(traffic.route_views(context.running.service.spec))}
        return Json(answer)

    @routes.get("/connections", response_model=shapes_traffic.ConnectionList, responses=problems(401, 403))
    async def connections(
        frontend: str | None = None,
        state: shapes_traffic.ConnectionState | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    ) -> Json:
        """Connections of clients, those with a request first, the longest of them first.

        A worker tells of 1000; `total` counts all.
        """
        answers = await context.running.team.ask("connections")
        return Json(traffic.connection_list(answers, frontend, state, limit))

    @routes.get("/frontends/{name}", response_model=shapes.FrontendView, responses=problems(404))
    async def frontend(name: Name, history: WithHistory = False) -> Json:
        """One frontend."""
        for row in board.frontends():
            if row.proxy == name:
                return Json(views.frontend_view(row, context.region, history=history))
        raise ApiError(404, f"There is no frontend {name!r}.")

    @routes.get("/backends", response_model=shapes.BackendList)
    async def backends(history: WithHistory = False) -> Json:
        """Every backend, without its servers."""
        now = time.time()
        rows = await board.backends()
        answer: shapes.BackendList = {
            "backends": [views.backend_view(row, context.region, now, history=history) for row in rows]
        }
        return Json(answer)

    @routes.get("/backends/{backend}", response_model=shapes.BackendView, responses=problems(404))
    async def backend_(backend: Name, history: WithHistory = False) -> Json:
        """One backend, without its servers."""
        row = context.backend_row(context.backend(backend))
        return Json(views.backend_view(row, context.region, time.time(), history=history))

    @routes.get("/backends/{backend}/servers", response_model=shapes.ServerList, responses=problems(404))
    async def servers_of(
        backend: Name,
        state: shapes.State | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
        offset: Annotated[int, Query(ge=0)] = 0,
        history: WithHistory = False,
    ) -> Json:
        """The servers of a backend, in the order of the configuration."""
        context.backend(backend)
        return Json(await listed(backend, state, limit, offset, history))

    @routes.get("/servers", response_model=shapes.ServerList)
    async def servers(
        state: shapes.State | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
        offset: Annotated[int, Query(ge=0)] = 0,
        history: WithHistory = False,
    ) -> Json:
        """The servers of all backends."""
        return Json(await listed(None, state, limit, offset, history))

    async def listed(
        backend: str | None, state: str | None, limit: int, offset: int, history: bool
    ) -> shapes.ServerList:
        service, now = context.running.service, time.time()
        spec = service.spec
        found = [
            (group, server)
            for group in spec.backends
            if backend is None or group.name == backend
            for server in group.servers
            if state is None or service.book.server(group.name, server).state == state
        ]
        wanted = found[offset : offset + limit]
        board.sampler.want(service.assignment.server(group.name, server.address) for group, server in wanted)
        views_: list[shapes.ServerView] = []
        for n, (group, server) in enumerate(wanted, 1):
            views_.append(views.server_view(board.server(group, server), context.region, now, history=history))
            if n % BATCH == 0:
                await asyncio.sleep(0)
                if service.spec is not spec:
                    raise ApiError(503, "The configuration has just been replaced; ask again.")
        return {"total": len(found), "servers": views_}

    @routes.get("/backends/{backend}/servers/{server}", response_model=shapes.ServerView, responses=problems(404))
    async def server_(backend: Name, server: Name, history: WithHistory = False) -> Json:
        """One server, by its name or its address."""
        row = context.server_row(*context.server(backend, server))
        return Json(views.server_view(row, context.region, time.time(), history=history))

    return routes
