"""A TCP proxy that does harm: between balancer and origin, or between client and balancer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Self

from fastlb.testing.background import Address, BackgroundLoop, accept_all, address_of, listen_on, no_delay, reset


class _Cut(Exception):
    """The connection is to be reset."""


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.server: socket.socket | None = None
        self.forwarded = {"up": 0, "down": 0}  # bytes
        self.with_reset = False  # how it ends
        self.task: asyncio.Task[None] | None = None

    def close(self) -> None:
        for sock in (self.client, self.server):
            if sock is not None and sock.fileno() >= 0:
                with contextlib.suppress(OSError):
                    if self.with_reset:
                        reset(sock)
                sock.close()


class FaultyProxy:
    """Forwards connections to `target`, faithfully until told otherwise. 'up' is towards the target, 'down' back.

    The attributes may be set at any time and act on what is forwarded from then on:
    delay           seconds each piece waits before it goes on
    piece           forwards at most so many bytes at a time (0: as they come)
    cut_up/cut_down resets the connection after so many bytes in that direction (None: never)
    stalled         forwards nothing, and keeps the connections open
    refusing        resets new connections as soon as they are accepted
    """

    def __init__(self, target: Address, *, address: Address = ("127.0.0.1", 0)) -> None:
        self.target = target
        self.delay = 0.0
        self.piece = 0
        self.cut_up: int | None = None
        self.cut_down: int | None = None
        self.refusing = False
        self.connections = 0  # accepted so far
        self._stalled = False
        self._go: asyncio.Event | None = None
        self._wanted = address
        self._address: Address = address
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = threading.Condition()
        self._background: BackgroundLoop | None = None
        self._listener: socket.socket | None = None

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._address

    @property
    def name(self) -> str:
        """The address as a configuration has it."""
        return f"unix:{self._address}" if isinstance(self._address, str) else f"{self._address[0]}:{self._address[1]}"

    @property
    def stalled(self) -> bool:
        return self._stalled

    @stalled.setter
    def stalled(self, value: bool) -> None:
        self._stalled = value
        if self._background is not None:
            self._background.call(self._stall)

    def __enter__(self) -> Self:
        self._background = BackgroundLoop("faulty proxy")
        try:
            self._listener = listen_on(self._wanted)
            self._address = address_of(self._listener)
            self._background.run(self._start(self._listener))
        except BaseException:
            self._background.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        background, self._background = self._background, None
        if background is not None:
            background.run(self._end())
            background.close()

    def wait_connections(self, count: int, timeout: float = 10.0) -> None:
        """Returns once so many connections were accepted."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.connections >= count, timeout):
                raise AssertionError(f"proxy: {self.connections} of {count} connections after {timeout:g} s")

    def cut_all(self, *, with_reset: bool = True) -> int:
        """Ends every connection now, by RST or by FIN; returns how many."""
        assert self._background is not None, "not started: use 'with'"

        async def cut() -> int:
            links = list(self._links)
            for link in links:
                link.with_reset = with_reset
                if link.task is not None:
                    link.task.cancel()
            await asyncio.gather(*(link.task for link in links if link.task is not None), return_exceptions=True)
            return len(links)

        return self._background.run(cut())

    def _stall(self) -> None:
        if self._go is not None:
            (self._go.clear if self._stalled else self._go.set)()

    async def _start(self, listener: socket.socket) -> None:
        self._go = asyncio.Event()
        self._stall()
        accept_all(listener, self._take)

    async def _end(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _take(self, client: socket.socket) -> None:
        with self._changed:
            self.connections += 1
            self._changed.notify_all()
        if self.refusing:
            reset(client)
            return
        link = _Link(client)
        self._links.add(link)
        link.task = self._spawn(self._serve(link))
        link.task.add_done_callback(lambda _: self._drop(link))  # also of a task cancelled before its first step

    def _drop(self, link: _Link) -> None:
        self._links.discard(link)
        link.close()

    async def _serve(self, link: _Link) -> None:
        loop = asyncio.get_running_loop()
        unix = isinstance(self.target, str)
        family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in self.target[0] else socket.AF_INET
        pumps: list[asyncio.Task[None]] = []
        try:
            link.server = server = socket.socket(family, socket.SOCK_STREAM)
            server.setblocking(False)
            await loop.sock_connect(server, self.target)
            no_delay(server)
            pumps = [
                self._spawn(self._pump(link, link.client, server, "up", lambda: self.cut_up)),
                self._spawn(self._pump(link, server, link.client, "down", lambda: self.cut_down)),
            ]
            await asyncio.gather(*pumps)
        except (OSError, _Cut):  # what one side suffers, the other does
            link.with_reset = True
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, link: _Link, source: socket.socket, sink: socket.socket, way: str, limit: Callable[[], int | None]
    ) -> None:
        loop = asyncio.get_running_loop()
        assert self._go is not None
        while data := await loop.sock_recv(source, 65536):
            while data:
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._go.wait()
                size = self.piece or len(data)
                most = limit()
                if most is not None:
                    size = min(size, max(most - link.forwarded[way], 0))
                if size:
                    await loop.sock_sendall(sink, data[:size])
                link.forwarded[way] += size
                data = data[size:]
                if most is not None and link.forwarded[way] >= most:
                    raise _Cut
                if self.piece:
                    await asyncio.sleep(0)
        await self._go.wait()
        sink.shutdown(socket.SHUT_WR)
