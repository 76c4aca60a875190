"""Writes what a Spec says about servers into the shared region: weight, limit, first state."""

from __future__ import annotations

from fastlb._core.region import DRAIN, EJECTED, MAINT, UP, Region
from fastlb.control.slots import Assignment
from fastlb.spec import Backend, Server, Spec


def limit_of(backend: Backend, server: Server) -> int:
    """Requests at once on the server, over all workers; 0 = unlimited."""
    return server.max_connections or backend.max_connections


def first_state(backend: Backend, server: Server) -> int:
    """UP, or 0 where the server is not known to be well: it has no address, or its checks are to say so first."""
    check = backend.health_check
    return UP if server.resolved and (check is None or check.initial == "up") else 0


def publish(
    region: Region, spec: Spec, assignment: Assignment, *, before: tuple[Spec, Assignment] | None = None
) -> None:
    """Prepares the region for `spec`, before any worker gets it.

    New frontends, backends and servers get fresh lines (servers: up, full ramp). What was in `before` keeps its line;
    its weight and limit are written only where the configuration itself changed them, so that a value set at run time
    outlives a reload that does not mention it. A server whose address was not found is down, and comes up when a later
    Spec has it. O(servers).
    """
    old_spec, old = before or (None, Assignment())
    old_servers = {
        (b.name, s.address): (limit_of(b, s), s) for b in (old_spec.backends if old_spec else ()) for s in b.servers
    }
    for name, index in assignment.frontends.items():
        if old.frontends.get(name) != index:
            region.assign_frontend(index)
    for backend in spec.backends:
        group = assignment.backends[backend.name]
        if old.backends.get(backend.name) != group:
            region.assign_group(group)
        for server in backend.servers:
            identity = (backend.name, server.address)
            index = assignment.servers[identity]
            limit = limit_of(backend, server)
            if old.servers.get(identity) != index:
                state = first_state(backend, server)
                region.assign_server(index, group, weight=server.weight, limit=limit, state=state)
                continue
            old_limit, old_server = old_servers[identity]
            if old_server.weight != server.weight:
                region.set_weight(index, server.weight)
            if old_limit != limit:
                region.set_limit(index, limit)
            if server.resolved and not old_server.resolved:
                region.change_state(index, set=first_state(backend, server))
            elif old_server.resolved and not server.resolved:
                region.change_state(index, clear=UP)
        region.bump_group(group)
    for identity, index in old.servers.items():
        if identity not in assignment.servers:
            region.release_server(index)


def describe(state: int) -> str:
    """HAProxy's word for the flags of a server: UP, DOWN, DRAIN, MAINT or EJECTED."""
    if state & MAINT:
        return "MAINT"
    if not state & UP:
        return "DOWN"
    if state & EJECTED:
        return "EJECTED"
    return "DRAIN" if state & DRAIN else "UP"
