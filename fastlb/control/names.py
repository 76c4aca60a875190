"""Addresses of host names: by the system's resolver, or by name servers of one's own, which tell how long they hold."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from dataclasses import dataclass

from fastlb.spec import Resolver

Found = tuple[tuple[int, str], ...]  # family and address, best first
FAMILIES = (int(socket.AF_INET), int(socket.AF_INET6))
SRV = "srv:"  # before a name: its SRV records are asked for


@dataclass(frozen=True, slots=True)
class Target:
    """What one SRV record says (RFC 2782), with the addresses of the host that it names."""

    host: str
    port: int
    priority: int = 0  # lower ones come first
    weight: int = 0
    addresses: Found = ()
    unanswered: tuple[int, ...] = ()  # families whose addresses nobody told; there may be some


@dataclass(frozen=True, slots=True)
class Answer:
    """Addresses, or what SRV records say, and for how many seconds that holds (-1: unknown); or why there are none."""

    addresses: Found = ()
    ttl: float = -1.0
    reason: str = ""
    targets: tuple[Target, ...] = ()
    unanswered: tuple[int, ...] = ()  # as of a target

    @property
    def found(self) -> bool:
        """There is something to connect to."""
        return bool(self.addresses) or any(target.addresses for target in self.targets)

    def after(self, before: Answer) -> Answer:
        """With what `before` has of what was not answered now: half an answer takes nobody away."""
        old = {target.host: target.addresses for target in before.targets}
        return dataclasses.replace(
            self,
            addresses=_kept(self.addresses, before.addresses, self.unanswered),
            targets=tuple(
                dataclasses.replace(t, addresses=_kept(t.addresses, old.get(t.host, ()), t.unanswered))
                for t in self.targets
            ),
        )


def _kept(now: Found, before: Found, unanswered: tuple[int, ...]) -> Found:
    return (*now, *(one for one in before if one[0] in unanswered and one not in now))


@dataclass(slots=True)
class Lookups:
    """How often one question was asked, and what came of it."""

    found: int = 0
    failed: int = 0
    found_at: float = 0.0  # time.time(); 0 = never
    ttl: float = -1.0  # seconds that the last answer holds; -1 = nobody said
    reason: str = ""  # why the last look-up failed; '' = it did not


async def look_up(name: str, resolver: Resolver, within: float) -> Answer:
    """The addresses of a name, or after `srv:` its SRV records, in at most `within` seconds. Never raises."""
    try:
        async with asyncio.timeout(within):
            if name.startswith(SRV):
                return await _services(name.removeprefix(SRV), resolver)
            return await _addresses(name, resolver)
    except TimeoutError:
        return Answer(reason=f"the name was not resolved within {within:g} s")
    except UnicodeError:
        return Answer(reason="not a valid host name")


async def _addresses(name: str, resolver: Resolver) -> Answer:
    if not resolver.nameservers or name == "localhost":
        return await _ask_system(name)
    from fastlb.control import name_servers  # takes long to import, and few need it

    return await name_servers.ask(name, resolver)


async def _services(name: str, resolver: Resolver) -> Answer:
    """Records whose host has no address are left out; all of them being so is a failure."""
    from fastlb.control import name_servers

    records, ttl, reason = await name_servers.ask_services(name, resolver)
    hosts = sorted({record.host for record in records})
    answers = dict(zip(hosts, await asyncio.gather(*(_addresses(host, resolver) for host in hosts)), strict=True))
    targets = []
    for record in records:
        answer = answers[record.host]
        if answer.addresses or answer.unanswered:
            targets.append(dataclasses.replace(record, addresses=answer.addresses, unanswered=answer.unanswered))
        if answer.addresses:
            ttl = min(ttl, answer.ttl) if answer.ttl >= 0 else ttl
        else:
            reason = f"{record.host}: {answer.reason}"
    found = any(target.addresses for target in targets)
    return Answer(ttl=ttl, targets=tuple(targets), reason="" if found else reason)


async def _ask_system(name: str) -> Answer:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        unanswered = FAMILIES if error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL) else ()
        return Answer(reason=f"the name cannot be resolved ({error.strerror or error})", unanswered=unanswered)
    return Answer(
        tuple(
            dict.fromkeys(
                (int(family), str(name[0]))
                for family, _, _, _, name in found
                if family in (socket.AF_INET, socket.AF_INET6)
            )
        )
    )
