"""An event loop in a thread, for the parts of the bench that serve."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

Address = tuple[str, int] | str  # (host, port), or the path of a Unix socket

START_TIME = 30.0  # seconds that a part of the bench gets to start or stop


class BackgroundLoop:
    """A running loop in a daemon thread. `run` hands it a coroutine and waits for the result."""

    def __init__(self, name: str, factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> None:
        self.loop = factory()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    def run(self, work: Coroutine[Any, Any, T], within: float = START_TIME) -> T:
        """The result of `work`, run on the loop; TimeoutError after `within` seconds."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(within)

    def call(self, function: Callable[[], T]) -> T:
        """The result of a plain function, called on the loop."""

        async def work() -> T:
            return function()

        return self.run(work())

    def close(self) -> None:
        """Cancels what runs and ends the thread. May be repeated."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(START_TIME)


def listen_on(address: Address) -> socket.socket:
    """A non-blocking listening socket. Port 0 gives a free one."""
    unix = isinstance(address, str)
    family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if not unix:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(4096)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def accept_all(listener: socket.socket, take: Callable[[socket.socket], None]) -> None:
    """Has the running loop hand each connection to `take`, until `listener` is removed from it.

    A callback and not a task, because a task cancelled at the wrong moment loses the connection it was just given.
    """

    def ready() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            sock.setblocking(False)
            no_delay(sock)
            take(sock)

    asyncio.get_running_loop().add_reader(listener.fileno(), ready)


def address_of(sock: socket.socket) -> Address:
    """Where a listening socket listens."""
    name = sock.getsockname()
    return str(name) if isinstance(name, str) else (str(name[0]), int(name[1]))


def connect_to(address: Address, timeout: float | None) -> socket.socket:
    """A connected socket with Nagle's delay off, so that what is sent in two calls may arrive in two reads."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock
    sock = socket.create_connection(address, timeout)
    no_delay(sock)
    return sock


def no_delay(sock: socket.socket) -> None:
    """Turns Nagle's algorithm off where there is one."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def reset(sock: socket.socket) -> None:
    """Closes the socket so that the peer gets RST, not FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
