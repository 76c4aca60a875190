"""Asks name servers for the addresses of a name, which tells how long they hold. The protocol is dnspython's."""

from __future__ import annotations

import asyncio
import socket

import dns.asyncresolver
import dns.exception
import dns.resolver

from fastlb.control.names import Answer
from fastlb.spec import Resolver


async def ask(name: str, resolver: Resolver) -> Answer:
    """A and AAAA at the same time; one of them is enough."""
    client = dns.asyncresolver.Resolver(configure=False)
    client.nameservers = [server.host for server in resolver.nameservers]
    client.nameserver_ports = {server.host: server.port for server in resolver.nameservers}
    client.lifetime = resolver.timeout
    client.timeout = resolver.timeout / max(2, len(resolver.nameservers))
    kinds = ((int(socket.AF_INET), "A"), (int(socket.AF_INET6), "AAAA"))
    answers = await asyncio.gather(
        *(client.resolve(f"{name.rstrip('.')}.", kind, search=False) for _, kind in kinds), return_exceptions=True
    )
    addresses: list[tuple[int, str]] = []
    ttls: list[int] = []
    reason = ""
    for (family, _), answer in zip(kinds, answers, strict=True):
        if isinstance(answer, dns.resolver.Answer):
            if answer.rrset is not None:
                addresses += [(family, str(record)) for record in answer.rrset]
                ttls.append(answer.rrset.ttl)
        elif isinstance(answer, dns.resolver.NXDOMAIN):
            reason = "there is no such name"
        elif isinstance(answer, dns.resolver.NoAnswer):
            reason = reason or "the name has no address"
        elif isinstance(answer, dns.exception.DNSException | OSError):
            reason = reason or "no name server answered"
        elif isinstance(answer, BaseException):
            raise answer
    if not addresses:
        return Answer(reason=f"the name cannot be resolved ({reason})")
    return Answer(tuple(dict.fromkeys(addresses)), float(min(ttls)))
