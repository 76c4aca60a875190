"""Listening sockets that the service manager has opened: sd_listen_fds(3).

They are taken where the configuration names their address; where two frontends could have one, it is that of its name
(`FileDescriptorName=`). One socket serves all workers, because it is one; the service manager keeps its own copy, so
that connections wait in its queue while fastlb is started anew.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from fastlb.control.sockets import Inherited, address_of

FIRST = 3  # the first descriptor passed
VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


def passed_sockets(environment: MutableMapping[str, str] | None = None, first: int = FIRST) -> list[Inherited]:
    """The listening stream sockets passed to this process; [] when there are none, or they are for another one.

    Takes the variables out of the environment: they hold for this process alone. Descriptors that are something else
    are left alone.
    """
    found = os.environ if environment is None else environment
    count, pid = found.get("LISTEN_FDS", ""), found.get("LISTEN_PID", "")
    names = found.get("LISTEN_FDNAMES", "").split(":")
    for name in VARIABLES:
        found.pop(name, None)
    if not count.isdecimal() or pid != str(os.getpid()):
        return []
    sockets = []
    for number in range(int(count)):
        sock = listening_socket(first + number)
        if sock is not None:
            name = names[number] if number < len(names) else ""
            sockets.append(Inherited((int(sock.family), address_of(sock)), (sock,), name=name))
    return sockets


def listening_socket(fd: int, *, datagrams: bool = False) -> socket.socket | None:
    """The descriptor as a socket ready for use; None when it is no listening stream socket (and stays as it is).

    `datagrams`: one that takes datagrams will do as well.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return None
    try:
        accepts = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        accepts = 0
    takes = datagrams and sock.type == socket.SOCK_DGRAM and sock.family != socket.AF_UNIX
    if (not takes and (sock.type != socket.SOCK_STREAM or not accepts)) or sock.family not in FAMILIES:
        sock.detach()
        return None
    sock.set_inheritable(False)
    sock.setblocking(False)
    if sock.type == socket.SOCK_STREAM and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
    return sock


FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
