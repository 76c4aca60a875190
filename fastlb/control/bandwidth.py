"""From the Spec to what holds bytes back."""

from __future__ import annotations

from collections.abc import Iterable

from fastlb.control.rule_order import route_name
from fastlb.engine.bandwidth import Bandwidth, BandwidthRule
from fastlb.engine.holds import Holds
from fastlb.spec import Backend, Frontend, Route
from fastlb.spec import Bandwidth as Limit


def make_bandwidth(frontend: Frontend, route: Route | None, holds: Holds) -> Bandwidth | None:
    """The limits of a route's requests, the frontend's and its own; None = there are none."""
    number = len(frontend.routes) if route is None else frontend.routes.index(route)
    name = route_name(frontend, number)
    rules = _rules(f"frontend {frontend.name}", frontend.bandwidth, name)
    if route is not None:
        rules += _rules(f"route {frontend.name} {route.name or number}", route.bandwidth, name)
    return Bandwidth(rules, holds) if rules else None


def backend_bandwidth(backend: Backend, holds: Holds) -> Bandwidth | None:
    """The limits of a backend's requests; None = there are none."""
    rules = _rules(f"backend {backend.name}", backend.bandwidth)
    return Bandwidth(rules, holds) if rules else None


def _rules(where: str, limits: Iterable[Limit], route: str = "") -> list[BandwidthRule]:
    # What workers count together outlives a reload that leaves a limit in its place: its name says where it stands.
    return [
        BandwidthRule(
            f"{where} {number}",
            request=limit.request,
            response=limit.response,
            request_after=limit.request_after,
            response_after=limit.response_after,
            key=limit.key,
            prefix4=limit.ipv4_prefix,
            prefix6=limit.ipv6_prefix,
            exempt=limit.exempt,
            route=route,
        )
        for number, limit in enumerate(limits)
    ]
