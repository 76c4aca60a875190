"""Finds the socket addresses of servers given by host name."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fastlb.control.names import Answer, look_up
from fastlb.errors import Problem
from fastlb.spec import Address, Backend, Discover, Server, Spec

Resolved = tuple[tuple[int, tuple[str, int] | str], ...]


def literal(address: Address) -> Resolved:
    """The socket address of a literal one (IPv4, IPv6, Unix path); () for a host name."""
    if address.path:
        path = "\0" + address.path[1:] if address.path.startswith("@") else address.path
        return ((int(socket.AF_UNIX), path),)
    try:
        version = ipaddress.ip_address(address.host).version
    except ValueError:
        return ()
    return ((int(socket.AF_INET if version == 4 else socket.AF_INET6), (address.host, address.port)),)


@dataclass(frozen=True, slots=True)
class Move:
    """A server whose name stands for another address now. `before` is '' when it had none."""

    backend: str
    server: Server
    before: str
    after: str


async def resolve(
    spec: Spec, *, within: float | None = None, answers: dict[str, Answer] | None = None
) -> tuple[Spec, list[Problem]]:
    """`spec` with `resolved` of every server, and a problem for each one whose name was not found.

    The `resolved` of those is (). Names are looked up once each, all at the same time, as `spec.resolver` says;
    `within` (seconds) bounds the whole. `answers` is told what was answered, to the questions of `discover` too.
    """
    limit = spec.resolver.timeout if within is None else within
    names = sorted(names_of(spec))
    heard = await asyncio.gather(*(look_up(name, spec.resolver, limit) for name in names))
    found = dict(zip(names, heard, strict=True))
    if answers is not None:
        answers.update(found)
    problems: list[Problem] = []
    backends: list[Backend] = []
    for backend in spec.backends:
        servers: list[Server] = []
        for index, discover in enumerate(backend.discover):
            if not found[discover.question].found:
                why = f"{found[discover.question].reason}; it stands for no server until it can be"
                key = f"backends.{backend.name}.discover[{index}]"
                problems.append(Problem(key, str(discover), why, file=spec.source))
        for index, server in enumerate(backend.servers):
            resolved = literal(server.address)
            if not resolved:
                answer = found[server.address.host]
                if answer.addresses:
                    resolved = tuple((family, (host, server.address.port)) for family, host in answer.addresses)
                else:
                    key = f"backends.{backend.name}.servers[{index}].address"
                    why = f"{answer.reason}; the server stays down until it can be"
                    problems.append(Problem(key, str(server.address), why, file=spec.source))
            servers.append(server if resolved == server.resolved else dataclasses.replace(server, resolved=resolved))
        backends.append(dataclasses.replace(backend, servers=tuple(servers)))
    return dataclasses.replace(spec, backends=tuple(backends)), problems


def names_of(spec: Spec) -> set[str]:
    """The names that servers are given by, or discovered; see `look_up`."""
    listed = {s.address.host for b in spec.backends for s in b.servers if not s.source and not literal(s.address)}
    return listed | {discover.question for b in spec.backends for discover in b.discover}


def with_addresses(spec: Spec, found: Mapping[str, Answer]) -> tuple[Spec, list[Move]]:
    """`spec` with what was found, and the servers that it moves.

    A server keeps its address while the name still stands for it, wherever in the answer, and when nothing was found,
    or not all was answered.
    """
    moves: list[Move] = []
    backends = []
    for backend in spec.backends:
        servers = []
        for server in backend.servers:
            answer = None if server.source or literal(server.address) else found.get(server.address.host)
            if answer is not None and answer.addresses and not (server.resolved and answer.unanswered):
                resolved = tuple((family, (host, server.address.port)) for family, host in answer.addresses)
                if not server.resolved or server.resolved[0] not in resolved:
                    before = str(server.resolved[0][1][0]) if server.resolved else ""
                    server = dataclasses.replace(server, resolved=resolved)
                    moves.append(Move(backend.name, server, before, str(resolved[0][1][0])))
            servers.append(server)
        backends.append(dataclasses.replace(backend, servers=tuple(servers)))
    return (dataclasses.replace(spec, backends=tuple(backends)) if moves else spec), moves


def with_known_addresses(spec: Spec, before: Spec) -> Spec:
    """Servers keep the address they have where the resolver still gives it, or fails.

    So a reload neither moves connections because the resolver turns its answers round, nor takes servers down because
    it does not answer.
    """
    known = {(b.name, s.address): s.resolved for b in before.backends for s in b.servers if s.resolved}
    backends = []
    for backend in spec.backends:
        servers = []
        for server in backend.servers:
            old = known.get((backend.name, server.address))
            if old and (not server.resolved or old[0] in server.resolved):
                resolved = (old[0], *(found for found in server.resolved if found != old[0]))
                server = dataclasses.replace(server, resolved=resolved)
            servers.append(server)
        backends.append(dataclasses.replace(backend, servers=tuple(servers)))
    return dataclasses.replace(spec, backends=tuple(backends))


def server_keys(spec: Spec) -> Iterator[tuple[str, Server]]:
    """Each server with the key that `resolve` names it by."""
    for backend in spec.backends:
        for index, server in enumerate(backend.servers):
            yield f"backends.{backend.name}.servers[{index}].address", server


def discover_keys(spec: Spec) -> Iterator[tuple[str, Discover]]:
    """Each `discover` table with the key that `resolve` names it by."""
    for backend in spec.backends:
        for index, discover in enumerate(backend.discover):
            yield f"backends.{backend.name}.discover[{index}]", discover
