"""Hands a running balancer to a new process: other code, another interpreter, the same listening sockets.

The old supervisor starts the command line that started it. The new one inherits the listening sockets as descriptors
and finds in a memory file what is known of the servers; it begins to accept beside the old one and says over a Unix
socket that it is ready; it is told to go on, and then the old one drains. When the new one ends or stays silent, the
old one goes on as if nothing had been. While the old one drains it tells the new one what it has counted, so that
totals go on.

The file is JSON and has a version, because the two may be different versions of fastlb.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastlb.control.slots import ServerId
from fastlb.control.sockets import Inherited
from fastlb.errors import FastlbError
from fastlb.runtime import activation
from fastlb.spec import Address, Server, ServerChange, ServerState

VARIABLE = "FASTLB_HANDOVER"
VERSION = 1
WITHIN = 120.0  # seconds that the new process gets to become ready
CONFIRMED = 10.0  # seconds that the old process gets to let the new one go on
READY, GO = b"ready", b"go"

_LENGTH = struct.Struct(">I")  # of a frame with counters


class HandoverError(FastlbError):
    """The new process did not take over; the text says why."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What the new process starts from."""

    sockets: Sequence[Inherited] = ()  # of frontends and of the admin interface
    changes: Sequence[ServerChange] = ()
    up: Mapping[ServerId, bool] = field(default_factory=dict)  # what health checks found
    tickets: Sequence[bytes] = field(default=(), repr=False)  # keys of TLS session tickets, the current one first
    tickets_age: float = 0.0  # seconds since that one was made
    secret: bytes = field(default=b"", repr=False)  # of the region: signs cookies


class Receiver:
    """The new process's side."""

    def __init__(self, handover: Handover, channel: socket.socket) -> None:
        self.handover = handover
        self._channel = channel

    @classmethod
    def from_environment(cls) -> Receiver | None:
        """What the variable names; None when nobody hands over. Raises HandoverError for what cannot be understood."""
        value = os.environ.pop(VARIABLE, "")
        if not value:
            return None
        try:
            channel_fd, data_fd = (int(part) for part in value.split(":"))
            with os.fdopen(data_fd, "rb") as file:
                raw = json.loads(file.read())
            if raw["version"] != VERSION:
                raise HandoverError(f"it is of version {raw['version']}, this one reads version {VERSION}")
            channel = socket.socket(fileno=channel_fd)
            channel.set_inheritable(False)
            return cls(_unpacked(raw), channel)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise HandoverError(f"what the old process handed over cannot be read: {error}") from error

    async def ready(self) -> None:
        """Tells the old process to go, and waits until it knows."""
        self._channel.setblocking(False)
        with contextlib.suppress(OSError):  # it may have died meanwhile, and then we go on all the more
            self._channel.send(READY)
            async with asyncio.timeout(CONFIRMED):
                await asyncio.get_running_loop().sock_recv(self._channel, len(GO))

    async def counts(self) -> AsyncIterator[dict[str, Any]]:
        """What the old process tells of its counters, until it has ended; nothing of an older version."""
        loop = asyncio.get_running_loop()
        data = b""
        with contextlib.suppress(OSError):
            while piece := await loop.sock_recv(self._channel, 1 << 16):
                data += piece
                while len(data) >= _LENGTH.size and len(data) - _LENGTH.size >= (size := _LENGTH.unpack_from(data)[0]):
                    yield json.loads(data[_LENGTH.size : _LENGTH.size + size])
                    data = data[_LENGTH.size + size :]

    def close(self) -> None:
        """May be repeated."""
        self._channel.close()


class Successor:
    """The new process, once it has taken over. Close it."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self._channel = channel

    async def tell(self, counts: dict[str, Any]) -> None:
        """Has it add these to what it shows. Raises OSError when nobody listens."""
        text = json.dumps(counts).encode()
        await asyncio.get_running_loop().sock_sendall(self._channel, _LENGTH.pack(len(text)) + text)

    def close(self) -> None:
        """May be repeated."""
        self._channel.close()


async def hand_over(handover: Handover, before: Callable[[int], None], *, within: float = WITHIN) -> Successor:
    """Starts the new process and returns once it is ready. Raises HandoverError, the new process being gone.

    `before(pid)` is called when it is ready, before it goes on.
    """
    ours, theirs = socket.socketpair()
    process: subprocess.Popen[bytes] | None = None
    try:
        with theirs:
            raw, fds = _packed(handover)
            data = os.memfd_create("fastlb-handover", os.MFD_CLOEXEC)
            try:
                os.write(data, json.dumps(raw).encode())
                os.lseek(data, 0, os.SEEK_SET)
                process = await asyncio.to_thread(_start, theirs.fileno(), data, fds)
            except OSError as error:
                raise HandoverError(f"the new process cannot be started: {error}") from error
            finally:
                os.close(data)
        ours.setblocking(False)
        try:
            async with asyncio.timeout(within):
                answer = await asyncio.get_running_loop().sock_recv(ours, 100)
        except TimeoutError:
            raise HandoverError(f"the new process (pid {process.pid}) was not ready within {within:g} s") from None
        except OSError as error:
            raise HandoverError(f"the new process (pid {process.pid}) is out of reach: {error}") from error
        if answer != READY:
            status = await asyncio.to_thread(_wait, process)
            raise HandoverError(f"the new process (pid {process.pid}) did not become ready: {status}")
        pid, process = process.pid, None
        before(pid)
        with contextlib.suppress(OSError):
            ours.send(GO)
        return Successor(pid, ours.dup())
    finally:
        ours.close()
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait)


def command() -> list[str]:
    """The command line of this very process, with the interpreter by its path."""
    return [sys.executable, *sys.orig_argv[1:]]


def _start(channel: int, data: int, fds: Sequence[int]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, VARIABLE: f"{channel}:{data}"}
    for name in (*activation.VARIABLES, "WATCHDOG_PID"):  # a watchdog is the new process's from now on
        environment.pop(name, None)
    return subprocess.Popen(command(), stdin=subprocess.DEVNULL, pass_fds=(channel, data, *fds), env=environment)


def _wait(process: subprocess.Popen[bytes]) -> str:
    try:
        return f"it left with status {process.wait(5)}"
    except subprocess.TimeoutExpired:
        return "it closed the channel"


def _packed(handover: Handover) -> tuple[dict[str, Any], list[int]]:
    fds: list[int] = []
    sockets = []
    for one in handover.sockets:
        numbers = [sock.fileno() for sock in one.sockets]
        fds.extend(numbers)
        sockets.append({"asked": one.asked, "fds": numbers, "unlink": one.unlink})
    raw = {
        "version": VERSION,
        "sockets": sockets,
        "changes": [dataclasses.asdict(change) for change in handover.changes],
        "up": [[backend, dataclasses.asdict(address), up] for (backend, address), up in handover.up.items()],
        # keys that version 1 began without: another process may not tell them, or not know them
        "tickets": [key.hex() for key in handover.tickets],
        "tickets_age": handover.tickets_age,
        "secret": handover.secret.hex(),
    }
    return raw, fds


def _unpacked(raw: dict[str, Any]) -> Handover:
    return Handover(
        sockets=[_inherited(one) for one in raw["sockets"]],
        changes=[_change(one) for one in raw["changes"]],
        up={(backend, Address(**address)): bool(up) for backend, address, up in raw["up"]},
        tickets=[bytes.fromhex(key) for key in raw.get("tickets", ())],
        tickets_age=float(raw.get("tickets_age", 0.0)),
        secret=bytes.fromhex(raw.get("secret", "")),
    )


def _inherited(raw: dict[str, Any]) -> Inherited:
    family, name = raw["asked"]
    sockets = []
    for fd in raw["fds"]:
        sock = activation.listening_socket(fd, datagrams=True)
        if sock is None:
            raise ValueError(f"descriptor {fd} is not a listening socket")
        sockets.append(sock)
    path, device, inode = raw["unlink"] or ("", 0, 0)
    asked = (int(family), name if isinstance(name, str) else (str(name[0]), int(name[1])))
    return Inherited(asked, tuple(sockets), (path, device, inode) if path else None)


def _change(raw: dict[str, Any]) -> ServerChange:
    state, added = raw["state"], raw["added"]
    if added is not None:
        added = Server(added["name"], Address(**added["address"]), backup=added["backup"], tier=added.get("tier", 0))
    return ServerChange(
        backend=raw["backend"],
        address=Address(**raw["address"]),
        name=raw["name"],
        state=ServerState(state) if state is not None else None,
        weight=raw["weight"],
        max_connections=raw["max_connections"],
        added=added,
        removed=raw["removed"],
        reason=raw["reason"],
    )
