"""Binding one listening address: options, both families, Unix files, and what to say when it fails."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

from fastlb.control.tcp_options import OptionError, listener_options, set_options
from fastlb.spec import ListenTcp

UNIX_MODE = 0o666  # as open as a TCP port of the machine is

_PLAIN = ListenTcp()

Unlink = tuple[str, int, int]  # (path, device, inode) of a Unix socket's file


def bind_tcp(
    family: int,
    name: tuple[str, int],
    count: int,
    *,
    reuse_port: bool,
    alone: bool,
    tcp: ListenTcp = _PLAIN,
    dual: bool = False,
) -> list[socket.socket]:
    """`count` listening sockets on one address (port 0: on the same free one). Raises OSError with none left open.

    `alone`: nobody else may listen there; false where we do ourselves already. `dual`: for IPv4 too.
    """
    if reuse_port and name[1] and alone:
        # SO_REUSEPORT would let us share the port with another program of the same user, a forgotten fastlb say, and
        # lose half of the connections to it. Only a bind without the option tells.
        with _tcp_socket(family, dual) as probe:
            if tcp.interface:
                set_options(probe, listener_options(tcp, family))
            probe.bind(name)
            probe.listen(1)
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = _tcp_socket(family, dual)
            sockets.append(sock)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            set_options(sock, listener_options(tcp, family))  # accepted sockets inherit them
            sock.bind(name)
            name = (name[0], sock.getsockname()[1])
        for sock in sockets:  # all bound before the first listens: the kernel spreads evenly from the beginning
            sock.listen(tcp.backlog or backlog())
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def backlog() -> int:
    """The longest accept queue that the kernel allows."""
    try:
        return int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return socket.SOMAXCONN


def _tcp_socket(family: int, dual: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
    return sock


def find(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    """(family, (address, port)) of a name or a literal address. Raises OSError."""
    found: dict[tuple[int, tuple[str, int]], None] = {}
    for family, _, _, _, name in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        if family in (socket.AF_INET, socket.AF_INET6):
            found[(family, (str(name[0]), int(name[1])))] = None
    return list(found)


def bind_unix(path: str, mode: int = UNIX_MODE, queue: int = 0) -> tuple[socket.socket, Unlink | None]:
    """A listening Unix socket ('@name': without a file), and what to remove when it is closed. Raises OSError."""
    abstract = path.startswith(("@", "\0"))
    if not abstract:
        _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if abstract:
            sock.bind("\0" + path[1:])
            sock.listen(queue or backlog())
            return sock, None
        # The file must never be more open than meant, not for a moment: bound closed, then opened.
        before = os.umask(0o777)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(queue or backlog())
        Path(path).chmod(mode)
        made = Path(path).stat()
        return sock, (path, made.st_dev, made.st_ino)
    except BaseException:
        sock.close()
        raise


def _remove_stale(path: str) -> None:
    """Removes a socket file that nobody listens on any more; anything else in the way is an error."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except TimeoutError:
            pass  # a full queue has a listener
    raise OSError(errno.EADDRINUSE, "")


def reason(error: OSError, unix: bool) -> str:
    """Why an address cannot be listened on, and what would help."""
    if isinstance(error, OptionError):
        return str(error.strerror)
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        return "the address is in use by another program"
    if error.errno == errno.EADDRNOTAVAIL:
        return "not an address of this machine"
    if error.errno in (errno.EACCES, errno.EPERM):
        if unix:
            return "permission denied: the directory must be writable"
        return (
            f"permission denied: ports below {_first_free_port()} need root, CAP_NET_BIND_SERVICE "
            "or a lower net.ipv4.ip_unprivileged_port_start"
        )
    return error.strerror or str(error)


def _first_free_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024
