"""Finds the socket addresses of servers given by host name."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import socket

from fastlb.errors import Problem
from fastlb.spec import Address, Backend, Server, Spec

Resolved = tuple[tuple[int, tuple[str, int] | str], ...]

# A resolver that hangs must not keep the rest from starting; the name is tried again later.
TIMEOUT = 5.0


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


async def resolve(spec: Spec, *, within: float = TIMEOUT) -> tuple[Spec, list[Problem]]:
    """`spec` with `resolved` of every server, and a problem for each one whose name was not found.

    The `resolved` of those is (). Names are looked up once each, all at the same time, by the loop's getaddrinfo;
    `within` (seconds) bounds the whole.
    """
    names = sorted({s.address.host for b in spec.backends for s in b.servers if not literal(s.address)})
    answers = await asyncio.gather(*(_look_up(name, within) for name in names))
    found = dict(zip(names, answers, strict=True))
    problems: list[Problem] = []
    backends: list[Backend] = []
    for backend in spec.backends:
        servers: list[Server] = []
        for index, server in enumerate(backend.servers):
            resolved = literal(server.address)
            if not resolved:
                answer = found[server.address.host]
                if isinstance(answer, str):
                    key = f"backends.{backend.name}.servers[{index}].address"
                    problems.append(Problem(key, str(server.address), answer, file=spec.source))
                else:
                    resolved = tuple((family, (host, server.address.port)) for family, host in answer)
            servers.append(server if resolved == server.resolved else dataclasses.replace(server, resolved=resolved))
        backends.append(dataclasses.replace(backend, servers=tuple(servers)))
    return dataclasses.replace(spec, backends=tuple(backends)), problems


async def _look_up(name: str, within: float) -> list[tuple[int, str]] | str:
    """(family, host) in the resolver's order of preference, or why there is none."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within):
            found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except TimeoutError:
        return f"the name was not resolved within {within:g} s; the server stays down until it is"
    except OSError as error:
        return f"the name cannot be resolved ({error.strerror or error}); the server stays down until it can"
    except UnicodeError:
        return "not a valid host name; the server stays down"
    addresses = dict.fromkeys(
        (int(family), str(name[0])) for family, _, _, _, name in found if family in (socket.AF_INET, socket.AF_INET6)
    )
    return list(addresses)
