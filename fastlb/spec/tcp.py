"""Options of sockets, names as the socket options of tcp(7), ip(7) and socket(7)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Probes of idle connections; 0 = the kernel's value."""

    idle: float = 0.0  # seconds without traffic before the first
    interval: float = 0.0  # seconds between two
    count: int = 0  # lost in a row that end the connection


@dataclass(frozen=True, slots=True)
class ListenTcp:
    """Of a listening address, and of the connections that come by it."""

    keepalive: Keepalive | None = None  # None = no probes
    user_timeout: float = 0.0  # seconds that sent bytes may go unacknowledged; 0 = the kernel's
    nodelay: bool = True
    backlog: int = 0  # accept queue of a socket; 0 = as long as the kernel allows
    defer_accept: float = 0.0  # seconds a client has for its first byte before it is accepted all the same; 0 = off
    fastopen: int = 0  # clients that may send with their SYN before it is confirmed; 0 = none
    interface: str = ""  # device that connections must come by
    v6only: bool = True  # false, of '[::]': takes IPv4 too, as v4-mapped addresses
    mark: int = 0  # for routing and firewalls; 0 = none
    tos: int = 0  # type of service, traffic class; 0 = none


@dataclass(frozen=True, slots=True)
class ServerTcp:
    """Of the connections to the servers of a backend."""

    keepalive: Keepalive | None = None
    user_timeout: float = 0.0
    nodelay: bool = True
    interface: str = ""
    mark: int = 0
    tos: int = 0
    source: str = ""  # address that they come from; 'client' = that of the session's client; '' = the kernel's choice
