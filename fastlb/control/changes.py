"""Changes of servers made at run time: state, weight, limit, servers added and left out.

They lie over the configuration like a sheet: `Changes.over(spec)` is what runs. A reload replaces the configuration
below and keeps the sheet, except where the new file itself says something else than the old one did: a weight that the
operator changed in the file wins over one set at run time before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from fastlb.control.slots import ServerId
from fastlb.spec import Address, Backend, Server, ServerChange, ServerState, Spec

FIELDS = ("state", "weight", "max_connections")


class Changes:
    """The changes in force, one a server. A value: every method that changes something returns another one."""

    def __init__(self, changes: Iterable[ServerChange] = ()) -> None:
        self._changes: dict[ServerId, ServerChange] = {}
        for change in changes:
            if _says_something(change):
                self._changes[(change.backend, change.address)] = change

    def __iter__(self) -> Iterator[ServerChange]:
        return iter(self._changes.values())

    def __len__(self) -> int:
        return len(self._changes)

    def of(self, backend: str, address: Address) -> ServerChange | None:
        """What was changed on the server; None = nothing."""
        return self._changes.get((backend, address))

    def changed(
        self,
        backend: str,
        server: Server,
        *,
        state: ServerState | None = None,
        weight: int | None = None,
        max_connections: int | None = None,
        reason: str = "",
    ) -> Changes:
        """With these values of a server, what is None as it was. `server` is the configured one, or the added one."""
        old = self.of(backend, server.address) or ServerChange(backend, server.address, server.name)
        base = old.added or server
        given = {"state": state, "weight": weight, "max_connections": max_connections}
        # A value that is the configured one is no change.
        values = {n: None if value == getattr(base, n) else value for n, value in given.items() if value is not None}
        return self._with(dataclasses.replace(old, **values, reason=reason or old.reason))  # type: ignore[arg-type]

    def with_server(self, backend: str, server: Server, reason: str = "") -> Changes:
        """With a server more, one that the configuration does not have."""
        return self._with(
            ServerChange(
                backend,
                server.address,
                server.name,
                state=server.state if server.state is not ServerState.READY else None,
                weight=server.weight if server.weight != 1 else None,
                max_connections=server.max_connections or None,
                added=Server(server.name, server.address, backup=server.backup, tier=server.tier),
                reason=reason,
            )
        )

    def without_server(self, backend: str, server: Server, reason: str = "") -> Changes:
        """Without a server."""
        return self._with(ServerChange(backend, server.address, server.name, removed=True, reason=reason))

    def forgotten(self, backend: str, address: Address) -> Changes:
        """With the server as the configuration has it."""
        return Changes(c for c in self if (c.backend, c.address) != (backend, address))

    def applied(self, backend: str, server: Server) -> Server:
        """The server with what was changed on it."""
        change = self.of(backend, server.address)
        return server if change is None else _applied(server, change)

    def over(self, spec: Spec) -> Spec:
        """`spec` with the changes in it; those of backends that it does not have do nothing. O(servers)."""
        if not self._changes:
            return spec
        names = {change.backend for change in self}
        return dataclasses.replace(
            spec, backends=tuple(self._backend(b) if b.name in names else b for b in spec.backends)
        )

    def after(self, old: Spec, new: Spec) -> Changes:
        """What is left of them when the configuration `old` below them becomes `new`.

        A value goes where the file has another one for it now. A server added at run time becomes the file's where the
        file has it now, but stays drained if it was. One left out comes back where the file had it gone in between.
        What belongs to a backend or server that the file does not have any more stays: it may come back, and until
        then it does nothing.
        """
        before, now = _servers(old), _servers(new)
        kept: list[ServerChange] = []
        for change in self:
            identity = (change.backend, change.address)
            was, is_ = before.get(identity), now.get(identity)
            if is_ is not None and was is not None:
                differs = {name: None for name in FIELDS if getattr(was, name) != getattr(is_, name)}
                change = dataclasses.replace(change, **differs)  # type: ignore[arg-type]
            elif is_ is not None and change.added is not None:
                change = dataclasses.replace(change, added=None, weight=None, max_connections=None)
            elif is_ is not None and change.removed:
                change = dataclasses.replace(change, removed=False)
            kept.append(change)
        return Changes(kept)

    def unused(self, spec: Spec) -> list[ServerChange]:
        """Those that do nothing, because `spec` has no such backend or server."""
        servers = _servers(spec)
        backends = {b.name for b in spec.backends}
        return [
            c for c in self if c.backend not in backends or (c.added is None and (c.backend, c.address) not in servers)
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Changes) and self._changes == other._changes

    def __hash__(self) -> int:
        return hash(frozenset(self._changes.values()))

    def _with(self, change: ServerChange) -> Changes:
        return Changes([*self.forgotten(change.backend, change.address), change])

    def _backend(self, backend: Backend) -> Backend:
        servers: list[Server] = []
        seen: set[Address] = set()
        for server in backend.servers:
            seen.add(server.address)
            change = self.of(backend.name, server.address)
            if change is None:
                servers.append(server)
            elif not change.removed:
                servers.append(_applied(server, change))
        for change in self:
            if change.backend == backend.name and change.added is not None and change.address not in seen:
                servers.append(_applied(change.added, change))
        return dataclasses.replace(backend, servers=tuple(servers))


def _applied(server: Server, change: ServerChange) -> Server:
    values = {name: value for name in FIELDS if (value := getattr(change, name)) is not None}
    return dataclasses.replace(server, **values) if values else server


def _says_something(change: ServerChange) -> bool:
    return change.removed or change.added is not None or any(getattr(change, name) is not None for name in FIELDS)


def _servers(spec: Spec) -> dict[ServerId, Server]:
    return {(b.name, s.address): s for b in spec.backends for s in b.servers}
