"""POST /v1/explain: what becomes of a request, asked of the configuration and the servers as they stand."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Annotated

from fastapi import APIRouter, Body

from fastlb.admin import shapes_explain as shapes
from fastlb.admin.context import Context, Json, problems
from fastlb.admin.problems import ApiError
from fastlb.control.question import Question, QuestionError


def router(context: Context) -> APIRouter:
    """One route. It changes nothing and is a POST only because of what it is asked with."""
    routes = APIRouter(prefix="/v1", tags=["state"])
    turn = asyncio.Lock()

    @routes.post("/explain", response_model=shapes.ExplanationView, responses=problems(422))
    async def explain_(wanted: Annotated[shapes.Asked, Body()]) -> Json:
        """Which frontend and route match and why earlier ones do not, which rules run, which server is picked and why.

        Nothing is sent. The parser, the router and the rules are those of the workers; the balancer picks from a copy.
        """
        # Late, because the supervisor of worker processes has no other need of the engine.
        from fastlb.control.explain import explain

        service = context.running.service
        try:
            question = Question(wanted.method, wanted.url, tuple(wanted.headers), wanted.client, wanted.frontend)
            async with turn:  # some milliseconds with many servers: one after the other, so that others get theirs
                await asyncio.sleep(0)
                told = explain(service.spec, service.assignment, service.region, question, live=True)
        except QuestionError as error:
            raise ApiError(422, str(error)) from error
        return Json(dataclasses.asdict(told))

    return routes
