"""What the routes work with, handed from the application to each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pydantic_core
from starlette.responses import Response

from fastlb.admin.board import BackendRow, Board, ServerRow
from fastlb.admin.problems import MEDIA_TYPE, ApiError
from fastlb.admin.shapes import ProblemView
from fastlb.control.events import Events
from fastlb.control.region import Region
from fastlb.runtime.actions import Actions, Answer, Verdict
from fastlb.runtime.extras import Phase, Running
from fastlb.spec import Backend, Server


@dataclass(frozen=True, slots=True)
class Context:
    """One for the life of the admin interface."""

    running: Running
    board: Board
    actions: Actions

    @property
    def region(self) -> Region:
        return self.running.service.region

    @property
    def events(self) -> Events:
        return self.running.service.events

    @property
    def ready(self) -> bool:
        """Takes traffic: started, not draining, and at least one worker accepts."""
        if self.running.phase is not Phase.READY:
            return False
        return any(member.state == "ready" for member in self.running.team.members())

    def backend(self, name: str) -> Backend:
        """By name; ApiError 404."""
        found = self.board.find_backend(name)
        if found is None:
            raise ApiError(404, f"There is no backend {name!r}.")
        return found

    def server(self, backend: str, server: str) -> tuple[Backend, Server]:
        """By names, a server also by its address; ApiError 404."""
        self.backend(backend)
        found = self.board.find(backend, server)
        if found is None:
            raise ApiError(404, f"Backend {backend!r} has no server {server!r}.")
        return found

    def server_row(self, backend: Backend, server: Server) -> ServerRow:
        """The row of a server that somebody looks at."""
        self.board.sampler.want([self.running.service.assignment.server(backend.name, server.address)])
        return self.board.server(backend, server)

    def backend_row(self, backend: Backend) -> BackendRow:
        """The row of a backend with all its servers."""
        row = self.board.backend(backend)
        row.servers += [self.board.server(backend, server) for server in backend.servers]
        return row


STATUS = {Verdict.WRONG: 422, Verdict.UNKNOWN: 404, Verdict.REFUSED: 409}


def done(answer: Answer) -> Answer:
    """The answer of an action that was carried out; ApiError for every other."""
    if answer.ok:
        return answer
    errors = [{"where": problem.key, "reason": str(problem)} for problem in answer.problems]
    raise ApiError(STATUS[answer.verdict], answer.text, errors=errors)


class Json(Response):
    """A body of JSON; what is too large to be checked against its type a second time."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return pydantic_core.to_json(content)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: the errors of a route."""
    return {status: {"model": ProblemView, "content": {MEDIA_TYPE: {}}} for status in statuses}
