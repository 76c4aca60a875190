"""Changes at run time. Whether they are allowed is decided before, by `fastlb.admin.access.Guard`."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Body, Path

from fastlb.admin import shapes, views
from fastlb.admin.context import Context, Json, done, problems
from fastlb.admin.problems import ApiError
from fastlb.spec import ServerState

Name = Annotated[str, Path(max_length=200)]
REFUSALS = problems(401, 403, 404, 409, 422)


def router(context: Context) -> APIRouter:
    """Routes that change things. Further ones go beside these, each over a method of `Actions`."""
    routes = APIRouter(prefix="/v1", tags=["changes"])

    async def change(backend: str, server: str, wanted: shapes.ServerChange) -> Json:
        group, member = context.server(backend, server)
        state = ServerState(wanted.state) if wanted.state else None
        done(
            await context.actions.change_server(
                group.name,
                str(member.address),
                state=state,
                weight=wanted.weight,
                max_connections=wanted.max_connections,
                reason=" ".join(wanted.reason.split()),
            )
        )
        group, member = context.server(backend, server)
        return Json(views.server_view(context.server_row(group, member), context.region, time.time()))

    @routes.patch("/backends/{backend}/servers/{server}", response_model=shapes.ServerView, responses=REFUSALS)
    async def change_server(backend: Name, server: Name, wanted: Annotated[shapes.ServerChange, Body()]) -> Json:
        """Changes what is given of a server: state, weight, max_connections. Answers the server as it is then."""
        if wanted.state is None and wanted.weight is None and wanted.max_connections is None:
            raise ApiError(422, "Nothing to change: give state, weight or max_connections.")
        return await change(backend, server, wanted)

    @routes.put("/backends/{backend}/servers/{server}/state", response_model=shapes.ServerView, responses=REFUSALS)
    async def set_state(backend: Name, server: Name, wanted: Annotated[shapes.StateChange, Body()]) -> Json:
        """Sets the administrative state of a server."""
        return await change(backend, server, shapes.ServerChange.model_validate(wanted.model_dump()))

    return routes
