"""Binds the listening sockets. The supervisor owns them as long as they are served.

One socket a worker slot with SO_REUSEPORT for each TCP address: the kernel spreads connections over the slots, and a
slot's queue outlives its worker, because the supervisor never closes the socket between two workers. A Unix socket
cannot be bound twice, so all slots share the one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fastlb.errors import FastlbError, Problem
from fastlb.spec import Address, Listen, Mode, Spec

UNIX_MODE = 0o666  # as open as a TCP port of the machine is


class ListenError(FastlbError):
    """Addresses that cannot be listened on. `problems` holds every one."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


@dataclass(slots=True)
class _Bound:
    """One address of one listen entry: a socket a slot, or one for all (Unix)."""

    frontend: str
    index: int
    sockets: list[socket.socket]
    unlink: tuple[str, int, int] | None = None  # (path, device, inode) of a Unix socket's file


@dataclass(slots=True)
class Listeners:
    """The listening sockets of a configuration, for `slots` workers.

    `reuse_port` false (one process) lets the kernel itself refuse an address that another program listens on.
    """

    slots: int
    reuse_port: bool = True
    unix_mode: int = UNIX_MODE  # of the files of Unix sockets
    _bound: list[_Bound] = field(default_factory=list)

    def open(self, spec: Spec) -> None:
        """Binds every address of `spec` and listens. Raises ListenError naming all that failed; then none is open."""
        problems: list[Problem] = []
        opened: list[_Bound] = []
        for frontend in spec.frontends:
            for index, listen in enumerate(frontend.listen):
                key = f"frontends.{frontend.name}.listen[{index}]"
                try:
                    if frontend.mode is Mode.UDP:
                        raise OSError(errno.EPROTONOSUPPORT, "mode udp is not served")
                    for sockets, unlink in self._bind(listen):
                        opened.append(_Bound(frontend.name, index, sockets, unlink))
                except OSError as error:
                    problems.append(Problem(key, _shown(listen), _reason(error, listen), file=spec.source))
        if problems:
            _close(opened)
            raise ListenError(problems)
        self._bound += opened

    def open_one(self, key: str, address: Address, source: str = "") -> list[socket.socket]:
        """Binds an address that belongs to no frontend; `key` names it in the ListenError. The sockets stay ours."""
        listen = Listen(address)
        try:
            found = self._bind(listen)
        except OSError as error:
            raise ListenError([Problem(key, _shown(listen), _reason(error, listen), file=source)]) from error
        self._bound += [_Bound(key, 0, sockets, unlink) for sockets, unlink in found]
        return [sock for sockets, _ in found for sock in sockets]

    def of_slot(self, slot: int) -> Iterator[tuple[str, int, socket.socket]]:
        """(frontend, index in its `listen`, socket) for one worker; ':port' makes two of them. They stay ours."""
        for bound in self._bound:
            yield bound.frontend, bound.index, bound.sockets[slot if len(bound.sockets) > 1 else 0]

    def addresses(self) -> dict[str, list[tuple[str, int] | str]]:
        """Where each frontend listens: (host, port) or the path of a Unix socket, with the real port where it was 0."""
        found: dict[str, list[tuple[str, int] | str]] = {}
        for bound in self._bound:
            name = bound.sockets[0].getsockname()
            found.setdefault(bound.frontend, []).append(
                name if isinstance(name, str) else os.fsdecode(name) if isinstance(name, bytes) else (name[0], name[1])
            )
        return found

    def count(self) -> int:
        """Listening sockets a worker gets."""
        return len(self._bound)

    def close(self) -> None:
        """Closes our side and removes the files of Unix sockets. What a worker still holds goes on listening."""
        _close(self._bound)
        self._bound = []

    def _bind(self, listen: Listen) -> list[tuple[list[socket.socket], tuple[str, int, int] | None]]:
        address = listen.address
        if address.path:
            return [_bind_unix(address.path, self.unix_mode)]
        if address.host:
            return [(self._bind_tcp(family, name), None) for family, name in _find(address.host, address.port)]
        return self._bind_both(address.port)

    def _bind_both(self, port: int) -> list[tuple[list[socket.socket], tuple[str, int, int] | None]]:
        """Every address of both families, as two sockets, so that each keeps its own form of client address."""
        for last in (False, False, False, True):  # port 0: the port found for IPv4 may be taken for IPv6
            four = self._bind_tcp(socket.AF_INET, ("0.0.0.0", port))
            try:
                six = self._bind_tcp(socket.AF_INET6, ("::", four[0].getsockname()[1]))
            except OSError as error:
                if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    return [(four, None)]  # a kernel without IPv6
                for sock in four:
                    sock.close()
                if port or last or error.errno != errno.EADDRINUSE:
                    raise
            else:
                return [(four, None), (six, None)]
        raise AssertionError("unreachable")

    def _bind_tcp(self, family: int, name: tuple[str, int]) -> list[socket.socket]:
        if self.reuse_port and name[1]:
            # SO_REUSEPORT would let us share the port with another program of the same user, a forgotten fastlb say,
            # and lose half of the connections to it. Only a bind without the option tells.
            with _tcp_socket(family) as probe:
                probe.bind(name)
                probe.listen(1)
        sockets: list[socket.socket] = []
        try:
            for _ in range(self.slots):
                sock = _tcp_socket(family)
                sockets.append(sock)
                if self.reuse_port:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
                sock.bind(name)
                name = (name[0], sock.getsockname()[1])
            for sock in sockets:  # all bound before the first listens: the kernel spreads evenly from the beginning
                sock.listen(backlog())
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


def _tcp_socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _find(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    found: dict[tuple[int, tuple[str, int]], None] = {}
    for family, _, _, _, name in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        if family in (socket.AF_INET, socket.AF_INET6):
            found[(family, (str(name[0]), int(name[1])))] = None
    return list(found)


def _bind_unix(path: str, mode: int) -> tuple[list[socket.socket], tuple[str, int, int] | None]:
    abstract = path.startswith(("@", "\0"))
    if not abstract:
        _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if abstract:
            sock.bind("\0" + path[1:])
            sock.listen(backlog())
            return [sock], None
        # The file must never be more open than meant, not for a moment: bound closed, then opened.
        before = os.umask(0o777)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(backlog())
        Path(path).chmod(mode)
        made = Path(path).stat()
        return [sock], (path, made.st_dev, made.st_ino)
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


def _close(bound: list[_Bound]) -> None:
    for one in bound:
        for sock in one.sockets:
            sock.close()
        if one.unlink is not None:
            path, device, inode = one.unlink
            with contextlib.suppress(OSError):
                now = Path(path).stat()
                if (now.st_dev, now.st_ino) == (device, inode):  # not that of a successor
                    Path(path).unlink()


def _shown(listen: Listen) -> str:
    return str(listen.address)


def _reason(error: OSError, listen: Listen) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        return "the address is in use by another program"
    if error.errno == errno.EADDRNOTAVAIL:
        return "not an address of this machine"
    if error.errno in (errno.EACCES, errno.EPERM):
        if listen.address.path:
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
