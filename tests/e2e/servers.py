"""Servers that answer by themselves, for tests where many connections matter and not the order of single steps."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from .wire import BrokenOff, Message, Wire

T = TypeVar("T")


class Answering:
    """Answers every request with `handler(request)`: a body, or a whole response when it begins with "HTTP/".

    A thread a connection. `served` counts answers, `port` stays over stop() and start().
    """

    def __init__(
        self, handler: Callable[[Message], bytes] = lambda request: b"ok", host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.handler = handler
        self.host = host
        self.served = 0
        self.most = 0  # connections at a time
        self.port = port
        self._lock = threading.Lock()
        self._open: set[Wire] = set()
        self._threads: list[threading.Thread] = []
        self.start()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self.host, self.port))
        self._listener.listen(1024)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            wire = Wire(sock, keep=True)
            sock.settimeout(None)
            with self._lock:
                self._open.add(wire)
                self.most = max(self.most, len(self._open))
            self._spawn(self._serve, wire)

    def _serve(self, wire: Wire) -> None:
        try:
            while True:
                body = self.handler(wire.request())
                with self._lock:
                    self.served += 1  # before the client can know
                if body.startswith(b"HTTP/"):
                    wire.send(body)
                else:
                    wire.answer(body)
        except (BrokenOff, OSError):
            pass  # the balancer has closed, or stop() has
        finally:
            with self._lock:
                self._open.discard(wire)
            wire.close()

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._open)

    def stop(self) -> None:
        """Refuses connections and resets those that are open, as a killed program does."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for wire in self._open:
                try:
                    wire.sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it was closed already
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def still(value: Callable[[], T], seconds: float = 0.3, limit: float = 30.0) -> T:
    """The value once it has not changed for so long: what is held back shows by nothing happening."""
    last, since = value(), time.monotonic()
    end = since + limit
    while time.monotonic() - since < seconds:
        time.sleep(0.02)
        now = value()
        if now != last:
            last, since = now, time.monotonic()
        assert time.monotonic() < end, f"still changes after {limit:g} s: {now}"
    return last
