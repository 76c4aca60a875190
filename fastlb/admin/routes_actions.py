"""Changes at run time. Whether they are allowed is decided before, by `fastlb.admin.access.Guard`."""

from __future__ import annotations

import ipaddress
import re
import time
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query

from fastlb.admin import shapes, views
from fastlb.admin.context import Context, Json, done, problems
from fastlb.admin.problems import ApiError
from fastlb.spec import Address, ServerState

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
                reason=one_line(wanted.reason),
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

    @routes.post("/backends/{backend}/servers", status_code=201, response_model=shapes.AnswerView, responses=REFUSALS)
    async def add_server(backend: Name, wanted: Annotated[shapes.NewServer, Body()]) -> Json:
        """Adds a server at run time. It lives through reloads, and a restart once the overlay is saved."""
        try:
            address = parse_address(wanted.address)
        except ValueError as error:
            raise ApiError(422, f"address: {error}") from error
        answer = await context.actions.add_server(
            backend,
            address,
            name=wanted.name,
            weight=wanted.weight,
            backup=wanted.backup,
            tier=wanted.tier,
            max_connections=wanted.max_connections,
            state=ServerState(wanted.state),
            reason=one_line(wanted.reason),
        )
        return Json(views.answer_view(done(answer)), 201)

    @routes.delete("/backends/{backend}/servers/{server}", response_model=shapes.AnswerView, responses=REFUSALS)
    async def remove_server(backend: Name, server: Name, reason: Annotated[str, Query(max_length=200)] = "") -> Json:
        """Leaves a server out at run time; what is in flight on it ends as it began."""
        return Json(views.answer_view(done(await context.actions.remove_server(backend, server, one_line(reason)))))

    @routes.post(
        "/backends/{backend}/servers/{server}/shutdown_sessions", response_model=shapes.AnswerView, responses=REFUSALS
    )
    async def end_sessions(backend: Name, server: Name, reason: Annotated[str, Query(max_length=200)] = "") -> Json:
        """Ends what is under way at a server now. Its state stays: to keep more away, set it to maint before."""
        return Json(views.answer_view(done(await context.actions.end_sessions(backend, server, one_line(reason)))))

    @routes.post("/backends/{backend}/servers/{server}/forget", response_model=shapes.AnswerView, responses=REFUSALS)
    async def forget(backend: Name, server: Name) -> Json:
        """Undoes all run-time changes of a server: it is as the configuration has it."""
        return Json(views.answer_view(done(await context.actions.forget(backend, server))))

    return routes


def one_line(text: str) -> str:
    """Without line ends and other control characters, for logs."""
    return " ".join("".join(ch if ch.isprintable() else " " for ch in text).split())


def parse_address(text: str) -> Address:
    """HOST:PORT, [IPV6]:PORT or unix:PATH. Raises ValueError."""
    if text.startswith("unix:"):
        path = text[5:]
        if not path.startswith(("/", "@")) or len(path.encode()) > 107 or not path.isprintable():
            raise ValueError("must be unix: and an absolute path of at most 107 bytes")
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or not 1 <= int(port) <= 65535:
        raise ValueError("must be HOST:PORT with a port from 1 to 65535")
    if host.startswith("["):
        if not host.endswith("]"):
            raise ValueError("the bracket of the IPv6 address is not closed")
        return Address(str(ipaddress.IPv6Address(host[1:-1])), int(port))
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", host):
        raise ValueError("must be a name or an address before the port; IPv6 addresses stand in brackets")
    return Address(host.lower(), int(port))
