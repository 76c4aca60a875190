"""Whose rules apply to a request, in which order, and what routes are called."""

from __future__ import annotations

from fastlb.spec import Backend, Frontend, HeaderRules, Route


def header_rules(
    frontend: Frontend, route: Route | None, backend: Backend | None
) -> tuple[list[HeaderRules], list[HeaderRules]]:
    """The rules of a request's head and of its response's: those of the frontend first, of the backend last."""
    owners = [owner for owner in (frontend, route, backend) if owner is not None]
    return [owner.request_headers for owner in owners], [owner.response_headers for owner in owners]


def route_name(frontend: Frontend, index: int) -> str:
    """What people call a route: its name, else its place from 1; 'default' behind the last."""
    if index >= len(frontend.routes):
        return "default"
    return frontend.routes[index].name or str(index + 1)
