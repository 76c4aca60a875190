"""From the Spec to what counts requests and connections; and what rules have refused."""

from __future__ import annotations

from collections.abc import Iterator

from fastlb._core.region import Region
from fastlb.control.rule_order import route_name
from fastlb.engine.holds import Holds
from fastlb.engine.rate_limit import RateLimits, RateRule, rule_counts
from fastlb.spec import Frontend, RateLimit, Route, Spec


def make_limits(frontend: Frontend, route: Route | None, holds: Holds, region: Region) -> RateLimits | None:
    """The limits of a route's requests, the frontend's before the route's own; None = there are none."""
    number = len(frontend.routes) if route is None else frontend.routes.index(route)
    rules = [
        _rule(name, limit, region, route_name(frontend, number))
        for name, limit in _named(frontend, route)
        if limit.of != "connections"
    ]
    return RateLimits(rules, holds=holds, fields=frontend.rate_limit_headers) if rules else None


def make_accepts(frontend: Frontend, holds: Holds, region: Region) -> RateLimits | None:
    """The limits of new connections; None = there are none."""
    rules = [_rule(name, limit, region, "") for name, limit in _named(frontend, None) if limit.of == "connections"]
    return RateLimits(rules, holds=holds) if rules else None


def rule_names(spec: Spec) -> Iterator[tuple[str, str, str, RateLimit]]:
    """(frontend, route or '', name of the rule, rule) of all rules of the configuration."""
    for frontend in spec.frontends:
        for name, limit in _named(frontend, None):
            yield frontend.name, "", name, limit
        for number, route in enumerate(frontend.routes):
            for name, limit in _own(frontend, route):
                yield frontend.name, route_name(frontend, number), name, limit


def counts(region: Region, name: str) -> tuple[int, int, int]:
    """Of the rule of this name, over all workers: refused, would have refused (dry run), let through uncounted."""
    return rule_counts(region, name)


def _named(frontend: Frontend, route: Route | None) -> Iterator[tuple[str, RateLimit]]:
    # Counts outlive a reload that leaves a rule in its place: its name says where it stands.
    for number, limit in enumerate(frontend.rate_limits):
        yield f"frontend {frontend.name} {number}", limit
    if route is not None:
        yield from _own(frontend, route)


def _own(frontend: Frontend, route: Route) -> Iterator[tuple[str, RateLimit]]:
    where = f"route {frontend.name} {route.name or frontend.routes.index(route)}"
    for number, limit in enumerate(route.rate_limits):
        yield f"{where} {number}", limit


def _rule(name: str, limit: RateLimit, region: Region, route: str) -> RateRule:
    return RateRule(
        name,
        limit.rate,
        limit.burst,
        limit.key,
        limit.ipv4_prefix,
        limit.ipv6_prefix,
        limit.dry_run,
        limit.exempt,
        of=limit.of,
        shared=limit.shared,
        label=limit.name or name.rpartition(" ")[2],
        span=limit.span,
        route=route,
        region=region,
    )
