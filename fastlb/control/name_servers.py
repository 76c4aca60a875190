"""Asks name servers for addresses and services of a name, and how long they hold. The protocol is dnspython's."""

from __future__ import annotations

import asyncio

import dns.asyncresolver
import dns.exception
import dns.resolver

from fastlb.control.names import FAMILIES, Answer, Target
from fastlb.spec import Resolver

SILENCE = "no name server answered"


async def ask(name: str, resolver: Resolver) -> Answer:
    """A and AAAA at the same time; one of them is enough."""
    client = _client(resolver)
    kinds = tuple(zip(FAMILIES, ("A", "AAAA"), strict=True))
    answers = await asyncio.gather(*(_ask(client, name, kind) for _, kind in kinds))
    addresses: list[tuple[int, str]] = []
    ttls: list[int] = []
    unanswered: list[int] = []
    reason = ""
    for (family, _), answer in zip(kinds, answers, strict=True):
        if isinstance(answer, str):
            reason = reason or answer
            unanswered += [family] if answer == SILENCE else []
        elif answer.rrset is not None:
            addresses += [(family, str(record)) for record in answer.rrset]
            ttls.append(answer.rrset.ttl)
    if not addresses:
        reason = f"the name cannot be resolved ({reason or 'the name has no address'})"
        return Answer(reason=reason, unanswered=tuple(unanswered))
    return Answer(tuple(dict.fromkeys(addresses)), float(min(ttls)), unanswered=tuple(unanswered))


async def ask_services(name: str, resolver: Resolver) -> tuple[list[Target], float, str]:
    """The SRV records of a name without the addresses of their hosts, their TTL, and why there are none.

    Without name servers in the configuration those of /etc/resolv.conf are asked.
    """
    try:
        client = _client(resolver)
    except dns.resolver.NoResolverConfiguration:
        return [], -1.0, "there are no name servers, neither in [resolver] nor in /etc/resolv.conf"
    answer = await _ask(client, name, "SRV")
    if isinstance(answer, str) or answer.rrset is None:
        return [], -1.0, f"the name cannot be resolved ({answer if isinstance(answer, str) else 'no records'})"
    records = [
        Target(record.target.to_text(omit_final_dot=True).lower(), record.port, record.priority, record.weight)
        for record in answer.rrset
        if record.target.to_text() != "."  # RFC 2782: the service is not available at this domain
    ]
    return records, float(answer.rrset.ttl), "" if records else "the records say that the service is not available"


def _client(resolver: Resolver) -> dns.asyncresolver.Resolver:
    client = dns.asyncresolver.Resolver(configure=not resolver.nameservers)
    if resolver.nameservers:
        client.nameservers = [server.host for server in resolver.nameservers]
        client.nameserver_ports = {server.host: server.port for server in resolver.nameservers}
    client.lifetime = resolver.timeout
    client.timeout = resolver.timeout / max(2, len(resolver.nameservers))
    return client


async def _ask(client: dns.asyncresolver.Resolver, name: str, kind: str) -> dns.resolver.Answer | str:
    """The answer, or why there is none. What is cut off at the size of a datagram is asked for again over TCP."""
    try:
        return await client.resolve(f"{name.rstrip('.')}.", kind, search=False)
    except dns.resolver.NXDOMAIN:
        return "there is no such name"
    except dns.resolver.NoAnswer:
        return "the name has no address" if kind != "SRV" else "the name has no SRV records"
    except (dns.exception.DNSException, OSError):
        return SILENCE
