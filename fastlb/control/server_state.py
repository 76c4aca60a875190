"""Writes what a Spec says about servers into the shared region: weight, limit, first state."""

from __future__ import annotations

from collections.abc import Container, Iterable

from fastlb._core.region import DRAIN, EJECTED, MAINT, OPEN, UP, Region
from fastlb.control.slots import Assignment, Fresh
from fastlb.engine.stick_table import StickTable
from fastlb.spec import Backend, Server, ServerState, Spec

FLAGS = {ServerState.READY: 0, ServerState.DRAIN: DRAIN, ServerState.MAINT: MAINT}


def limit_of(backend: Backend, server: Server) -> int:
    """Requests at once on the server, over all workers; 0 = unlimited."""
    return server.max_connections or backend.max_connections


def first_state(backend: Backend, server: Server) -> int:
    """UP, or 0 where the server is not known to be well: it has no address, or its checks are to say so first."""
    check = backend.health_check
    return UP if server.resolved and (check is None or check.initial == "up") else 0


def publish(
    region: Region,
    spec: Spec,
    assignment: Assignment,
    fresh: Fresh,
    *,
    before: Spec | None = None,
    retired: Container[int] = (),
) -> list[tuple[int, float]]:
    """Prepares the region for `spec`, before any worker gets it.

    What is `fresh` gets new lines (servers: up, full ramp). What is not keeps its line: flags of health, requests in
    flight, counters; weight, limit and administrative state are written where `spec` has others than `before`, so that
    what an agent said stays. A server whose address was not found is down, and comes up when a later Spec has it. What
    left stays in service for workers that do not know yet, until `retire`; one of those (`retired`: its index) that
    comes back starts as a new one does. O(servers).

    Returns the servers that joined a backend that was there before, or have another address now, each with the seconds
    of its slow start: whoever started all of a backend at once would slow nobody down.
    """
    joined: list[tuple[int, float]] = []
    known = {(b.name, s.address): (b, s) for b in (before.backends if before else ()) for s in b.servers}
    for name, index in assignment.frontends.items():
        if name in fresh.frontends:
            region.assign_frontend(index)
    for run in fresh.tables:
        StickTable(region, run.first, run.buckets).clear()
    for backend in spec.backends:
        group = assignment.backends[backend.name]
        if backend.name in fresh.backends:
            region.assign_group(group)
        for server in backend.servers:
            identity = (backend.name, server.address)
            index = assignment.servers[identity]
            limit = limit_of(backend, server)
            flags = FLAGS[server.state]
            old_backend, old = known.get(identity, (None, None))
            window = backend.slow_start or server.slow_start
            if (
                window
                and server.resolved
                and backend.name not in fresh.backends
                and before is not None
                and (identity in fresh.servers or index in retired or old is None or _elsewhere(old, server))
            ):
                joined.append((index, window))
            if identity in fresh.servers:
                state = first_state(backend, server) | flags
                region.assign_server(index, group, weight=server.weight, limit=limit, state=state)
                continue
            if old is None or old.weight != server.weight:
                region.set_weight(index, server.weight)
            if old is None or old_backend is None or limit_of(old_backend, old) != limit:
                region.set_limit(index, limit)
            on = off = 0
            if old is None or old.state is not server.state:
                on, off = flags, (DRAIN | MAINT) & ~flags
            if not server.resolved:
                off |= UP
            elif index in retired or (old is not None and not old.resolved):
                on |= first_state(backend, server)
            region.change_state(index, set=on, clear=off)
        region.bump_group(group)
    return joined


def _elsewhere(old: Server, server: Server) -> bool:
    """Another machine stands behind the server's name, or the first one."""
    return not old.resolved or old.resolved[0] not in server.resolved


def retire(region: Region, indices: Iterable[int]) -> None:
    """Takes the lines of servers out of service that no worker's configuration has any more."""
    for index in indices:
        if region.state(index):
            region.release_server(index)


def describe(state: int) -> str:
    """HAProxy's word for the flags of a server: UP, DOWN, DRAIN, MAINT or EJECTED (an open circuit breaker too)."""
    if state & MAINT:
        return "MAINT"
    if not state & UP:
        return "DOWN"
    if state & (EJECTED | OPEN):
        return "EJECTED"
    return "DRAIN" if state & DRAIN else "UP"
