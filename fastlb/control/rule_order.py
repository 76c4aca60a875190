"""Whose rules apply to a request, in which order, and what routes are called."""

from __future__ import annotations

import dataclasses

from fastlb.spec import Backend, Forwarded, Frontend, HeaderRules, Route

HSTS = "Strict-Transport-Security"


def header_rules(
    frontend: Frontend, route: Route | None, backend: Backend | None
) -> tuple[list[HeaderRules], list[HeaderRules]]:
    """The rules of a request's head and of its response's: those of the frontend first, of the backend last."""
    owners = [owner for owner in (frontend, route, backend) if owner is not None]
    return [owner.request_headers for owner in owners], [owner.response_headers for owner in owners]


def forwarded_of(frontend: Frontend) -> Forwarded:
    """What servers are told about the client: of its certificate only where one is asked for."""
    asks = any(listen.tls is not None and listen.tls.client_auth != "none" for listen in frontend.listen)
    if asks or not frontend.forwarded.x_forwarded_client_cert:
        return frontend.forwarded
    return dataclasses.replace(frontend.forwarded, x_forwarded_client_cert=False)


def with_hsts(frontend: Frontend) -> Frontend:
    """The frontend as it is over TLS: its answers carry Strict-Transport-Security, unless its own rules set one."""
    rules = frontend.response_headers
    if frontend.hsts is None or any(name.lower() == HSTS.lower() for name, _ in rules.set):
        return frontend
    rules = dataclasses.replace(rules, set=((HSTS, str(frontend.hsts)), *rules.set))
    return dataclasses.replace(frontend, response_headers=rules)


def route_name(frontend: Frontend, index: int) -> str:
    """What people call a route: its name, else its place from 1; 'default' behind the last."""
    if index >= len(frontend.routes):
        return "default"
    return frontend.routes[index].name or str(index + 1)
