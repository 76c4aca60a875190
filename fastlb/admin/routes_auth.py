"""GET /v1/auth: what authentication decided. GET /v1/mirrors: where the answers of mirrors differ; what clients asked
for is in it, so it is not for everybody (see access.PRIVATE)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from typing_extensions import TypedDict

from fastlb.admin import views
from fastlb.admin.context import Context, Json, problems


class AuthCounts(TypedDict):
    granted: int
    cached: Annotated[int, Field(description="Of those granted: known from before, nothing was verified.")]
    refused: int
    limited: Annotated[int, Field(description="429, or 503 because too much waited.")]
    failed: Annotated[int, Field(description="Nobody could tell, such as without keys or a service.")]


class AuthView(TypedDict):
    """One table of [auth] that is in use."""

    name: str
    counts: AuthCounts


class AuthList(TypedDict):
    auth: list[AuthView]


class MirrorCounts(TypedDict):
    sent: int
    busy: Annotated[int, Field(description="Not copied: max_concurrent were under way.")]
    too_large: Annotated[int, Field(description="Not copied: a body longer than max_body.")]
    unfit: Annotated[int, Field(description="Not copied: an upgrade, or the request never was whole.")]
    failed: Annotated[int, Field(description="The mirror gave no whole answer.")]
    same: int
    differing: int
    incomparable: Annotated[int, Field(description="One of the answers was not whole.")]
    by_status: int
    by_headers: int
    by_body: int


class HeaderDifference(TypedDict):
    name: str
    real: str | None
    mirror: str | None


class AnswerView(TypedDict):
    status: int
    length: Annotated[int, Field(description="Bytes of the body.")]
    ms: float
    hash: Annotated[str | None, Field(description="Of the body; null where it is longer than compare_max.")]


class DifferenceView(TypedDict):
    """Two answers to one request that differ."""

    worker: int
    at: datetime
    line: Annotated[str, Field(description="The request line.")]
    client: str
    server: Annotated[str | None, Field(description="That gave the real answer.")]
    what: list[str]
    headers: list[HeaderDifference]
    real: AnswerView
    mirror: AnswerView


class MirrorView(TypedDict):
    frontend: str
    route: str
    backend: str
    running: Annotated[int, Field(description="Copies under way now.")]
    counts: MirrorCounts
    examples: Annotated[list[DifferenceView], Field(description="The last ones of each worker, oldest first.")]


class MirrorList(TypedDict):
    mirrors: list[MirrorView]


def router(context: Context) -> APIRouter:
    """Reading routes."""
    routes = APIRouter(prefix="/v1", tags=["traffic"])

    @routes.get("/auth", response_model=AuthList, responses=problems(401))
    async def auth() -> Json:
        """What each table of [auth] decided, over all workers since the last reload."""
        return Json({"auth": auth_of(await context.running.team.ask("traffic"))})

    @routes.get("/mirrors", response_model=MirrorList, responses=problems(401, 403))
    async def mirrors() -> Json:
        """Copies of requests, and the answers of mirrors that differed from the real ones."""
        return Json({"mirrors": mirrors_of(await context.running.team.ask("traffic"))})

    return routes


Answers = Mapping[int, Any]


def auth_of(answers: Answers) -> list[dict[str, Any]]:
    """The counts of all workers."""
    found: dict[str, dict[str, Any]] = {}
    for _, told in sorted(answers.items()):
        for one in told["auth"] if told else ():
            whole = found.setdefault(one["name"], {"name": one["name"], "counts": dict.fromkeys(one["counts"], 0)})
            _add(whole["counts"], one["counts"])
    return list(found.values())


def mirrors_of(answers: Answers) -> list[dict[str, Any]]:
    """The counts and examples of all workers."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for slot, told in sorted(answers.items()):
        for one in told["mirrors"] if told else ():
            whole = found.setdefault(
                (one["frontend"], one["route"]),
                {**one, "running": 0, "counts": dict.fromkeys(one["counts"], 0), "examples": []},
            )
            whole["running"] += one["running"]
            _add(whole["counts"], one["counts"])
            whole["examples"] += [
                {**example, "worker": slot, "at": views.moment(example["at"])} for example in one["examples"]
            ]
    for whole in found.values():
        whole["examples"].sort(key=lambda example: example["at"])
    return list(found.values())


def _add(to: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        to[name] += count
