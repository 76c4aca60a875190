"""One description from which every peer's configuration is made, so that they are equal in what they do."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from pathlib import Path

DESCRIPTORS = 32_768  # what 10,000 connections through a proxy need, and as many again


def raise_limit() -> None:
    """As many descriptors as the cells with the most connections need, or as many as this user may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= DESCRIPTORS:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, max(hard, DESCRIPTORS)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_possible() -> int:
    """Ceiling of each proxy by the limit of descriptors; a proxied connection takes two."""
    return (min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 60_000) - 1000) // 2


@dataclass(frozen=True, slots=True)
class Scene:
    """What a proxy has to do. What is not said here is each program's default.

    servers    ports of the servers on the loopback, with weights
    mode       http, tcp, udp
    flows      of mode udp: '' for one a client, query for one answer each, packet for one way and a datagram each
    balance    round_robin or least_connections
    tls        certificate and key in one file: the listener speaks TLS
    secure     the listener is to speak TLS as soon as there is a certificate
    name       of the site, as clients ask for it in TLS
    extra      fastlb alone: a whole configuration of the user's own instead of the generated one
    """

    servers: tuple[int, ...]
    weights: tuple[int, ...] = ()
    workers: int = 1
    log: bool = True
    mode: str = "http"
    flows: str = ""
    balance: str = "round_robin"
    tls: Path | None = None
    secure: bool = False
    websockets: bool = False
    connections: int = field(default_factory=connections_possible)
    extra: str = ""
    name: str = "bench.example"

    def weight(self, i: int) -> int:
        return self.weights[i] if self.weights else 1

    def told(self) -> str:
        """In words, for the report."""
        parts = [f"{self.mode}, {len(self.servers)} servers, {self.balance}, {self.workers} worker(s)"]
        parts.append("access log" if self.log else "no access log")
        parts += ["TLS"] if self.tls else []
        parts += [f"flows by {self.flows}"] if self.flows else []
        return ", ".join(parts)
