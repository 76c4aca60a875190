"""Routes and connections as the API answers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastlb.admin.shapes_traffic import ConnectionList, ConnectionView, RouteView
from fastlb.spec import Frontend, Route, Spec


def route_views(spec: Spec) -> Iterator[RouteView]:
    """All routes of all frontends in the order they are tried."""
    for frontend in spec.frontends:
        for position, route in enumerate(frontend.routes, 1):
            yield _route(frontend, position, route)
        rest = Route("default", backend=frontend.backend)
        yield _route(frontend, len(frontend.routes) + 1, rest)


def _route(frontend: Frontend, position: int, route: Route) -> RouteView:
    view: RouteView = {
        "frontend": frontend.name,
        "position": position,
        "name": route.name,
        "host": list(route.host),
        "path": list(route.path),
        "methods": list(route.methods),
        "headers": [f"{name}: {value}" for name, value in route.headers],
        "query": [f"{name}={value}" for name, value in route.query],
        "source": list(route.source),
        "action": "none",
        "target": "404",
    }
    if route.redirect is not None:
        view["action"], view["target"] = "redirect", f"{route.redirect.status} {route.redirect.location}"
    elif route.respond is not None:
        view["action"], view["target"] = "respond", str(route.respond.status)
    elif route.backend:
        view["action"], view["target"] = "backend", route.backend
    return view


def connection_list(
    answers: Mapping[int, tuple[list[dict[str, Any]], int] | None], frontend: str | None, state: str | None, limit: int
) -> ConnectionList:
    """Of what the workers told; None = a worker that said nothing."""
    total = 0
    found: list[ConnectionView] = []
    for worker, told in sorted(answers.items()):
        if told is not None:
            total += told[1]
            for one in told[0]:
                if frontend in (None, one["frontend"]) and state in (None, one["state"]):
                    found.append({"worker": worker, **one})  # type: ignore[typeddict-item]
    found.sort(key=lambda one: -one["request"]["seconds"] if one["request"] else 1.0)
    return {"total": total, "connections": found[:limit]}
