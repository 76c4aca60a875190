"""Errors as RFC 9457 problem details (application/problem+json)."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

import pydantic_core
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class ApiError(Exception):
    """Ends a handler with a problem."""

    def __init__(self, status: int, detail: str, *, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors


def problem_response(
    status: int,
    detail: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, Any]] | None = None,
) -> Response:
    """An answer whose `type` is about:blank: the status says it all (RFC 9457 section 4.2.1)."""
    body: dict[str, Any] = {"type": "about:blank", "title": http.HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    if errors:
        body["errors"] = errors
    return Response(pydantic_core.to_json(body), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Has every error of the application answered as a problem."""

    async def api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return problem_response(error.status, error.detail, errors=error.errors)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = "" if error.detail == http.HTTPStatus(error.status_code).phrase else str(error.detail)
        return problem_response(error.status_code, detail, headers=error.headers)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [
            {"where": ".".join(str(part) for part in one["loc"]), "reason": str(one["msg"])} for one in error.errors()
        ]
        return problem_response(422, "The request does not fit the description of the API.", errors=errors)

    async def failed(request: Request, error: Exception) -> Response:
        return problem_response(500, "The error is in the program; its log has the details.")

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, failed)
