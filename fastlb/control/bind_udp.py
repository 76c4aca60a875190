"""Binding one address for datagrams: options, buffers, and which worker's socket gets what."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Sequence

from fastlb.control.steer import attach, detach

log = logging.getLogger("fastlb.control")

BUFFER = 4 << 20  # bytes that may wait for a worker; the kernel gives less where net.core.rmem_max says so

_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32


def bind_udp(family: int, name: tuple[str, int], count: int, *, reuse_port: bool, alone: bool) -> list[socket.socket]:
    """`count` sockets on one address (port 0: on the same free one). Raises OSError with none left open.

    `alone`: nobody else may be bound there; false where we are ourselves already.
    """
    if reuse_port and name[1] and alone:
        # SO_REUSEPORT would let us share the port with another program of the same user: see bind_tcp.
        with _udp_socket(family) as probe:
            probe.bind(name)
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = _udp_socket(family)
            sockets.append(sock)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(name)
            name = (name[0], sock.getsockname()[1])
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _udp_socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    for option, forced in ((socket.SO_RCVBUF, _SO_RCVBUFFORCE), (socket.SO_SNDBUF, _SO_SNDBUFFORCE)):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        with contextlib.suppress(OSError):  # beyond the limit, for who may
            sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER)
    return sock


def steer(sockets: Sequence[socket.socket], *, by_source: bool) -> None:
    """Which of the sockets of one address gets a datagram: chosen by the client's address alone, or by address and port
    as the kernel does by itself."""
    first = sockets[0]
    if len(sockets) < 2:
        return
    if not by_source:
        detach(first)
        return
    try:
        attach(first, len(sockets), ports=False)
    except OSError as error:
        log.warning(
            'flow = "source" holds within each worker alone: the kernel takes no program for %s (%s)',
            first.getsockname(),
            error.strerror or error,
        )
