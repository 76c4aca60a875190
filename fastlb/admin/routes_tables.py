"""GET /v1/tables: the stick tables. Keys may be session cookies, so they are not for everybody (see access.PRIVATE)."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from typing_extensions import TypedDict

from fastlb.admin.context import Context, Json, problems
from fastlb.control import stick_tables

ENTRIES = 10_000


class EntryView(TypedDict):
    """A key and the server that its requests go to."""

    key: str
    server: str
    idle: float


class TableView(TypedDict):
    """One stick table."""

    backend: str
    type: str
    key: str
    size: int
    used: int
    expire: float
    entries: list[EntryView]


class TableList(TypedDict):
    tables: list[TableView]


def router(context: Context) -> APIRouter:
    """Reading routes."""
    routes = APIRouter(prefix="/v1", tags=["state"])

    @routes.get("/tables", response_model=TableList, responses=problems(401, 403, 404))
    async def tables(
        backend: Annotated[str, Query(max_length=200)] = "",
        limit: Annotated[int, Query(ge=0, le=ENTRIES, description="Entries of each table.")] = 100,
    ) -> Json:
        """The stick tables: which server the requests of which key go to."""
        service = context.running.service
        chosen = [context.backend(backend)] if backend else service.spec.backends
        found: list[TableView] = []
        now = time.monotonic()
        for one in chosen:
            run = service.assignment.tables.get(one.name)
            rules = one.affinity
            if run is None or rules is None:
                continue
            names = {service.assignment.server(one.name, s.address): s.name for s in one.servers}
            held = stick_tables.entries(context.region, one, run, names, now, limit)
            found.append(
                {
                    "backend": one.name,
                    "type": rules.type,
                    "key": f"cookie:{rules.name}" if rules.type == "learn" else rules.key,
                    "size": rules.size,
                    "used": stick_tables.used(context.region, one, run, now),
                    "expire": rules.expire,
                    "entries": [{"key": e.key, "server": e.server, "idle": e.idle} for e in held],
                }
            )
        return Json({"tables": found})

    return routes
