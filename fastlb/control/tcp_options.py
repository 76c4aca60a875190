"""Socket options of listeners and of connections to servers: what the configuration says, as the kernel takes it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from fastlb.errors import ConfigError, Problem
from fastlb.spec import Keepalive, ListenTcp, ServerTcp, Spec

Option = tuple[str, int, int, int | bytes]  # key, level, name, value

# not all of them are in the socket module of every version
_SO_BINDTODEVICE, _SO_MARK, _TCP_USER_TIMEOUT, _TCP_FASTOPEN = 25, 36, 18, 23
_IP_TRANSPARENT, _IP_BIND_ADDRESS_NO_PORT, _IPV6_TRANSPARENT = 19, 24, 75
MAX_NAME = 15  # of an interface


class OptionError(OSError):
    """The kernel refuses an option; the text says which and why."""


def listener_options(tcp: ListenTcp, family: int) -> list[Option]:
    """Of a listening socket; connections inherit them."""
    found = _common(tcp, family)
    found.append(("interface", socket.SOL_SOCKET, _SO_BINDTODEVICE, tcp.interface.encode() + b"\0"))
    found.append(("defer_accept", socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _seconds(tcp.defer_accept)))
    if tcp.fastopen:
        found.append(("fastopen", socket.IPPROTO_TCP, _TCP_FASTOPEN, tcp.fastopen))
    return found


def server_options(tcp: ServerTcp, family: int) -> list[Option]:
    """Of a connection to a server, before it connects."""
    found = [one for one in _common(tcp, family) if one[3]]  # the socket is new: 0 is what it has
    if tcp.interface:
        found.append(("interface", socket.SOL_SOCKET, _SO_BINDTODEVICE, tcp.interface.encode() + b"\0"))
    if tcp.source:
        found.append(("source", socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1))
    if tcp.source == "client" and family == socket.AF_INET:
        found.append(("source", socket.IPPROTO_IP, _IP_TRANSPARENT, 1))
    elif tcp.source == "client":
        found.append(("source", socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1))
    return found


def engine_options(tcp: ServerTcp, family: int) -> tuple[list[tuple[int, int, int]], str, str] | None:
    """The same for the engine: numbers, interface, source. None: as ever, and for Unix sockets."""
    if tcp == ServerTcp() or family == socket.AF_UNIX:
        return None
    found = server_options(tcp, family)
    nodelay = [] if tcp.nodelay else [(int(socket.IPPROTO_TCP), int(socket.TCP_NODELAY), 0)]
    numbers = [(level, name, value) for _, level, name, value in found if isinstance(value, int)]
    return numbers + nodelay, tcp.interface, tcp.source


def set_options(sock: socket.socket, options: list[Option], *, new: bool = True) -> None:
    """`new`: the socket has what the kernel gives it, so zeros need not be set. Raises OptionError."""
    for key, level, name, value in options:
        if new and value in (0, b"\0"):
            continue
        try:
            sock.setsockopt(level, name, value)
        except OSError as error:
            raise OptionError(error.errno, f"tcp.{key}: {_reason(key, error)}") from error


def check_servers(spec: Spec) -> None:
    """Tries the options of every backend on a socket that goes nowhere. Raises ConfigError: a missing right, say,
    would otherwise be found by each connection."""
    problems = []
    for backend in spec.backends:
        if backend.tcp == ServerTcp():
            continue
        for family in (socket.AF_INET, socket.AF_INET6):
            if backend.tcp.source and backend.tcp.source != "client":
                family = socket.AF_INET6 if ":" in backend.tcp.source else socket.AF_INET
            try:
                with socket.socket(family, socket.SOCK_STREAM) as sock:
                    set_options(sock, server_options(backend.tcp, family))
                    if backend.tcp.source and backend.tcp.source != "client":
                        _bind(sock, backend.tcp.source)
            except OptionError as error:
                key = f"backends.{backend.name}"
                problems.append(Problem(key, "", str(error.strerror), file=spec.source))
                break
            except OSError:
                continue  # a kernel without this family
    if problems:
        raise ConfigError(problems)


def _bind(sock: socket.socket, source: str) -> None:
    try:
        sock.bind((source, 0))
    except OSError as error:
        raise OptionError(error.errno, f"tcp.source: {source} is not an address of this machine") from error


def _common(tcp: ListenTcp | ServerTcp, family: int) -> list[Option]:
    keepalive = tcp.keepalive or Keepalive()
    six = family == socket.AF_INET6
    found: list[Option] = [
        ("nodelay", socket.IPPROTO_TCP, socket.TCP_NODELAY, int(tcp.nodelay)),
        ("keepalive", socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(tcp.keepalive is not None)),
        ("user_timeout", socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, min(round(tcp.user_timeout * 1000), 2**31 - 1)),
        ("mark", socket.SOL_SOCKET, _SO_MARK, tcp.mark),
        ("tos", socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tcp.tos)
        if six
        else ("tos", socket.IPPROTO_IP, socket.IP_TOS, tcp.tos),
    ]
    for key, name, value in _keepalive_values(keepalive):
        found.append((key, socket.IPPROTO_TCP, name, value))
    return found


def _keepalive_values(keepalive: Keepalive) -> Iterator[tuple[str, int, int]]:
    if keepalive.idle:
        yield "keepalive.idle", socket.TCP_KEEPIDLE, _seconds(keepalive.idle)
    if keepalive.interval:
        yield "keepalive.interval", socket.TCP_KEEPINTVL, _seconds(keepalive.interval)
    if keepalive.count:
        yield "keepalive.count", socket.TCP_KEEPCNT, keepalive.count


def _seconds(value: float) -> int:
    """The kernel knows whole ones."""
    return max(1, round(value)) if value else 0


def _reason(key: str, error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        right = "CAP_NET_RAW" if key == "interface" else "CAP_NET_ADMIN" if key == "mark" else "CAP_NET_ADMIN or _RAW"
        return f"permission denied: it needs root or {right}"
    if error.errno == errno.ENODEV:
        return "there is no such interface"
    return f"the kernel refuses it: {error.strerror}"
