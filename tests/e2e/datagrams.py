"""Sockets for tests of mode udp: clients and servers that the test plays, step by step."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

from tests.helpers import SLOWNESS

WAIT = 5.0 * SLOWNESS
Address = tuple[str, int]


class Peer:
    """A UDP socket with a deadline. `Peer(to=…)` is a client, `Peer()` a server on a free port."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, to: Address | None = None) -> None:
        family = socket.AF_INET6 if ":" in (to[0] if to else host) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(WAIT)
        if to is None:
            self.sock.bind((host, port))
        else:
            self.sock.connect(to)

    @property
    def address(self) -> str:
        host, port = self.sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    def get(self) -> bytes:
        return self.sock.recv(65536)

    def ask(self, data: bytes) -> bytes:
        self.send(data)
        return self.get()

    def take(self) -> tuple[bytes, Address]:
        """A datagram and who sent it."""
        data, who = self.sock.recvfrom(65536)
        return data, who[:2]

    def tell(self, who: Address, data: bytes) -> None:
        self.sock.sendto(data, who)

    def quiet(self) -> bool:
        """Nothing has come. For what is known to have been handled already."""
        self.sock.setblocking(False)
        try:
            self.sock.recv(65536)
        except BlockingIOError:
            return True
        finally:
            self.sock.settimeout(WAIT)
        return False

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Echo:
    """A server that answers by itself: its name, a colon and what was sent, to all but what begins with '-'."""

    def __init__(self, name: str, host: str = "127.0.0.1", *, port: int = 0, times: int = 1) -> None:
        self.name = name
        self._peer = Peer(host, port)
        self._times = times
        self.clients: set[Address] = set()
        self.address = self._peer.address
        self.port = self._peer.port
        self._peer.sock.settimeout(None)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                data, who = self._peer.take()
            except OSError:
                return
            if data == b"-stop":
                return
            self.clients.add(who)
            if not data.startswith(b"-"):
                for _ in range(self._times):
                    self._peer.tell(who, self.name.encode() + b":" + data)

    def close(self) -> None:
        with socket.socket(self._peer.sock.family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"-stop", self._peer.sock.getsockname())
        self._thread.join()
        self._peer.close()
