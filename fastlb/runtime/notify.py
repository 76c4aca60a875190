"""Tells the service manager how things stand: sd_notify(3), without a library.

A datagram of lines to the Unix socket that $NOTIFY_SOCKET names; without the variable nothing happens. Failures are
ignored: a service manager that does not listen must not stop the service.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """One per supervisor."""

    def __init__(self, path: str = "", watchdog: float = 0.0) -> None:
        """`path` '' = nobody wants to know; '@name' is an abstract socket. `watchdog`: seconds, 0 = none."""
        self._path = path
        self.watchdog = watchdog

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] | None = None) -> Notifier:
        """As $NOTIFY_SOCKET and $WATCHDOG_USEC say; a watchdog that is set for another process is none."""
        found = os.environ if environment is None else environment
        microseconds, pid = found.get("WATCHDOG_USEC", ""), found.get("WATCHDOG_PID", "")
        mine = microseconds.isdecimal() and (not pid or pid == str(os.getpid()))
        return cls(found.get("NOTIFY_SOCKET", ""), int(microseconds) / 1e6 if mine else 0.0)

    @property
    def wanted(self) -> bool:
        return bool(self._path)

    def ready(self, status: str) -> None:
        """All workers accept, or a reload is over."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. The time is what `Type=notify-reload` wants to see."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """A line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """To be sent more often than `watchdog` seconds."""
        self._send("WATCHDOG=1")

    def successor(self, pid: int) -> None:
        """Another process is the service from now on."""
        self._send(f"MAINPID={pid}")

    def _send(self, *lines: str) -> None:
        if not self._path:
            return
        address = f"\0{self._path[1:]}" if self._path.startswith("@") else self._path
        text = "\n".join(line.replace("\n", " ") for line in lines)
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock,
        ):
            sock.connect(address)
            sock.send(text.encode())
