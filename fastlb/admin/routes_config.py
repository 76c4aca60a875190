"""The configuration as a whole: reload, what it would change, what was changed at run time."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from fastlb.admin import shapes, views
from fastlb.admin.context import Context, Json, done, problems
from fastlb.admin.problems import ApiError
from fastlb.spec import Address, Spec

HIDDEN = ("token", "webhook", "secrets")
LEFT_OUT = ("resolved", "changes", "pems", "pem", "authorities", "revoked")
REFUSALS = problems(401, 403, 409, 422)
TOML = {"requestBody": {"content": {"application/toml": {"schema": {"type": "string"}}}}}


def router(context: Context) -> APIRouter:
    """Routes over `fastlb.runtime.actions.Actions`."""
    routes = APIRouter(prefix="/v1", tags=["configuration"])

    @routes.post("/reload", response_model=shapes.AnswerView, responses=REFUSALS)
    async def reload(wanted: Annotated[shapes.Reload | None, Body()] = None) -> Json:
        """Reads the configuration again and runs it everywhere. A wrong one changes nothing; 422 names every error."""
        answer = await context.actions.reload(confirm=wanted.confirm if wanted else 0.0)
        return Json(views.answer_view(done(answer)))

    @routes.post("/confirm", response_model=shapes.AnswerView, responses=REFUSALS)
    async def confirm() -> Json:
        """Keeps the configuration of a reload that waits for it."""
        return Json(views.answer_view(done(await context.actions.confirm())))

    @routes.post("/revert", response_model=shapes.AnswerView, responses=REFUSALS)
    async def revert() -> Json:
        """Brings the configuration before a reload that waits to be confirmed back at once."""
        return Json(views.answer_view(done(await context.actions.revert())))

    @routes.post("/upgrade", response_model=shapes.AnswerView, responses=REFUSALS)
    async def upgrade() -> Json:
        """Starts the program anew and hands everything over to it. Answers when that accepts connections."""
        return Json(views.answer_view(done(await context.actions.upgrade())))

    @routes.get("/config", response_model=dict[str, Any], responses=problems(401, 403))
    async def config() -> Json:
        """The configuration that runs, run-time changes included, defaults filled in: seconds and bytes as numbers."""
        return Json(config_view(context.running.service.spec))

    @routes.post("/diff", response_model=shapes.AnswerView, responses=REFUSALS, openapi_extra=TOML)
    async def diff(request: Request, source: str = "") -> Json:
        """What a reload would change. The body is a configuration (TOML); without one it is the file that runs."""
        try:
            text = (await request.body()).decode()
        except UnicodeDecodeError as error:
            raise ApiError(422, "The configuration is not UTF-8.") from error
        return Json(views.answer_view(done(await context.actions.diff(text or None, source))))

    @routes.get("/changes", response_model=shapes.ChangeList)
    async def changes() -> Json:
        """What was changed at run time and is in force."""
        answer: shapes.ChangeList = {"changes": [views.change_view(change) for change in context.actions.changes()]}
        return Json(answer)

    @routes.post("/overlay", response_model=shapes.AnswerView, responses=REFUSALS)
    async def overlay() -> Json:
        """Writes all run-time changes to the overlay file, which the next start reads."""
        return Json(views.answer_view(done(await context.actions.save_overlay())))

    return routes


def config_view(spec: Spec) -> dict[str, Any]:
    """All tables as plain values, without what the supervisor filled in; secrets are not shown."""
    tables: dict[str, Any] = plain(spec)
    tables["global"] = tables.pop("global_")
    return tables


def plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, Address):
            return str(value)
        # What its class keeps out of repr() is a secret. What it does not compare was filled in: keys of certificates.
        return {
            field.name: plain(kept) if field.repr or not kept else "(not shown)"
            for field in dataclasses.fields(value)
            if field.compare and field.name not in LEFT_OUT
            for kept in [getattr(value, field.name)]
        }
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value
