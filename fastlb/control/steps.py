"""From the Spec to what is asked of a request before it goes on."""

from __future__ import annotations

from collections.abc import Iterator

from fastlb.engine.access import NetworkStep
from fastlb.engine.fault import FaultStep
from fastlb.engine.step import Step
from fastlb.spec import Frontend, Route


def make_steps(
    frontend: Frontend, route: Route | None, ask: Step | None = None, copy: Step | None = None
) -> list[Step] | None:
    """The steps of a route's requests, in their order: networks, who it is, faults, a copy; the frontend's before the
    route's own."""
    return list(_steps(frontend, route, ask, copy)) or None


def _steps(frontend: Frontend, route: Route | None, ask: Step | None, copy: Step | None) -> Iterator[Step]:
    owners: list[Frontend | Route] = [frontend] if route is None else [frontend, route]
    for owner in owners:
        if owner.access is not None:
            rules = owner.access
            yield NetworkStep(rules.allow, rules.deny, rules.action, rules.tarpit, rules.tarpit_max)
    if ask is not None:
        yield ask
    for owner in owners:
        for fault in owner.faults:
            yield FaultStep(fault.percent, fault.delay, fault.abort, fault.header)
    if copy is not None:
        yield copy
