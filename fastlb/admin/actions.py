"""Stands in for the operator where the program has none: changes of servers, written straight to the region.

They are kept until the next start. Everything else is refused.
"""

from __future__ import annotations

from fastlb.control.region import DRAIN, MAINT
from fastlb.runtime.actions import Actions, Answer, Verdict
from fastlb.runtime.service import Service
from fastlb.spec import Address, Backend, Server, ServerChange, ServerState, Spec

FLAGS = {ServerState.READY: 0, ServerState.DRAIN: DRAIN, ServerState.MAINT: MAINT}
MAX_WEIGHT = 65535
MAX_LIMIT = 2**31 - 1
REFUSED = Answer(Verdict.REFUSED, "This program does not offer it.")


class DirectActions(Actions):
    """Changes the servers of a running service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def _find(self, backend: str, server: str) -> tuple[Backend, Server] | None:
        for group in self._service.spec.backends:
            if group.name == backend:
                by_name = {one.name: one for one in group.servers}
                found = by_name.get(server) or next((s for s in group.servers if str(s.address) == server), None)
                return (group, found) if found else None
        return None

    async def change_server(
        self,
        backend: str,
        server: str,
        *,
        state: ServerState | None = None,
        weight: int | None = None,
        max_connections: int | None = None,
        reason: str = "",
    ) -> Answer:
        service, region = self._service, self._service.region
        found = self._find(backend, server)
        if found is None:
            return Answer(Verdict.UNKNOWN, f"there is no server {backend}/{server}")
        if weight is not None and not 0 <= weight <= MAX_WEIGHT:
            return Answer(Verdict.WRONG, f"weight: {weight} is not in 0..{MAX_WEIGHT}")
        if max_connections is not None and not 0 <= max_connections <= MAX_LIMIT:
            return Answer(Verdict.WRONG, f"max_connections: {max_connections} is not in 0..{MAX_LIMIT}")
        group, one = found
        index = service.assignment.server(group.name, one.address)
        name, because = f"{group.name}/{one.name}", f": {reason}" if reason else ""
        if weight is not None and weight != region.weight(index):
            service.events.add("server", name, f"weight {region.weight(index)} is now {weight}{because}")
            region.set_weight(index, weight)
        if max_connections is not None and max_connections != region.limit(index):
            text = f"max_connections {region.limit(index)} is now {max_connections}{because}"
            service.events.add("server", name, text)
            region.set_limit(index, max_connections)
        if state is not None:
            region.change_state(index, set=FLAGS[state], clear=(DRAIN | MAINT) & ~FLAGS[state])
            service.book.note(group.name, one, f"set to {state} by the operator{because}", level="info")
        return Answer(Verdict.DONE, f"{name} is changed", generation=service.assignment.generation)

    async def set_state(self, backend: str, server: str, state: ServerState, reason: str = "") -> Answer:
        return await self.change_server(backend, server, state=state, reason=reason)

    async def set_weight(self, backend: str, server: str, weight: int, reason: str = "") -> Answer:
        return await self.change_server(backend, server, weight=weight, reason=reason)

    async def set_limit(self, backend: str, server: str, max_connections: int, reason: str = "") -> Answer:
        return await self.change_server(backend, server, max_connections=max_connections, reason=reason)

    async def reload(self, *, confirm: float = 0.0) -> Answer:
        return REFUSED

    async def confirm(self) -> Answer:
        return REFUSED

    async def diff(self, text: str | None = None, source: str = "") -> Answer:
        return REFUSED

    async def add_server(
        self,
        backend: str,
        address: Address,
        *,
        name: str = "",
        weight: int = 1,
        backup: bool = False,
        max_connections: int = 0,
        state: ServerState = ServerState.READY,
        reason: str = "",
    ) -> Answer:
        return REFUSED

    async def remove_server(self, backend: str, server: str, reason: str = "") -> Answer:
        return REFUSED

    async def forget(self, backend: str, server: str) -> Answer:
        return REFUSED

    async def save_overlay(self) -> Answer:
        return REFUSED

    def changes(self) -> tuple[ServerChange, ...]:
        return ()

    def configured(self) -> Spec:
        return self._service.spec
