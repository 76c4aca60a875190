"""Addresses of host names: by the system's resolver, or by name servers of one's own, which tell how long they hold."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from fastlb.spec import Resolver

Found = tuple[tuple[int, str], ...]  # family and address, best first


@dataclass(frozen=True, slots=True)
class Answer:
    """Addresses, and for how many seconds they hold (-1 = nobody said); or why there are none."""

    addresses: Found = ()
    ttl: float = -1.0
    reason: str = ""


async def look_up(name: str, resolver: Resolver, within: float) -> Answer:
    """The addresses of one name, in at most `within` seconds. Never raises."""
    try:
        async with asyncio.timeout(within):
            if not resolver.nameservers or name == "localhost":
                return await _ask_system(name)
            from fastlb.control import name_servers  # takes long to import, and few need it

            return await name_servers.ask(name, resolver)
    except TimeoutError:
        return Answer(reason=f"the name was not resolved within {within:g} s")
    except UnicodeError:
        return Answer(reason="not a valid host name")


async def _ask_system(name: str) -> Answer:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return Answer(reason=f"the name cannot be resolved ({error.strerror or error})")
    return Answer(
        tuple(
            dict.fromkeys(
                (int(family), str(name[0]))
                for family, _, _, _, name in found
                if family in (socket.AF_INET, socket.AF_INET6)
            )
        )
    )
