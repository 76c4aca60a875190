"""A scripted origin server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from fastlb.testing.background import Address, BackgroundLoop, accept_all, address_of, listen_on, reset
from fastlb.testing.message import END, Need, Request, fill_head, take_chunked
from fastlb.testing.script import (
    Close,
    Delay,
    HalfClose,
    Hang,
    Reset,
    Script,
    Send,
    Step,
    Trickle,
    WaitFor,
    interim,
    respond,
    wait_event,
)


class _Ended(Exception):
    """The connection is over."""


class Exchange:
    """One request on its connection, in the hands of a script. Lives on the origin's loop."""

    def __init__(self, origin: Origin, sock: socket.socket, number: int) -> None:
        self.origin = origin
        self.connection = number
        self.request = Request(connection=number)
        self.received = bytearray()  # bytes read and not used yet: a pipelined request, or tunnel data
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Sends bytes; ends the script when the peer is gone."""
        try:
            await self._loop.sock_sendall(self._sock, data)
        except OSError:
            raise _Ended from None

    async def receive(self) -> bytes:
        """Bytes from the peer, first those read already; b'' at the end of its stream."""
        if self.received:
            data = bytes(self.received)
            self.received.clear()
            return data
        try:
            return await self._loop.sock_recv(self._sock, 65536)
        except OSError:
            return b""

    def half_close(self) -> None:
        """Ends the sending direction."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            raise _Ended from None

    def close(self) -> None:
        """Closes the connection and ends the script."""
        raise _Ended

    def reset(self) -> None:
        """Closes the connection with RST and ends the script."""
        reset(self._sock)
        raise _Ended

    async def play(self, script: Script) -> None:
        """Follows a script."""
        if callable(script):
            await script(self)
            return
        for step in script:
            await self._take(step)

    async def _take(self, step: Step) -> None:
        match step:
            case Send(data):
                await self.send(data)
            case Trickle(data, size, pause):
                for start in range(0, len(data), size):
                    await self.send(data[start : start + size])
                    await asyncio.sleep(pause)
            case Delay(seconds):
                await asyncio.sleep(seconds)
            case WaitFor(event):
                await wait_event(event)
            case Hang():
                while await self.receive():
                    pass
                self.close()
            case HalfClose():
                self.half_close()
            case Close():
                self.close()
            case Reset():
                self.reset()

    async def _fill(self) -> bool:
        try:
            data = await self._loop.sock_recv(self._sock, 65536)
        except OSError:
            return False
        self.received += data
        self.origin._note_bytes(len(data))
        return bool(data)

    async def _read_head(self) -> bool:
        while (end := self.received.find(END)) < 0:
            if not await self._fill():
                return False
        fill_head(self.request, bytes(self.received[: end + len(END)]))
        del self.received[: end + len(END)]
        return True

    async def read_body(self) -> None:
        """Reads the body into `request.body`; done already unless the origin was made with read_body=False."""
        request, data = self.request, self.received
        length = int(request.header("content-length") or 0)
        while True:
            if request.chunked:
                try:
                    request.body, request.trailers, used = take_chunked(data)
                except Need:
                    pass
                else:
                    del data[:used]
                    return
            elif len(data) >= length:
                request.body = bytes(data[:length])
                del data[:length]
                return
            if not await self._fill():
                request.complete = False
                request.body = bytes(data)
                data.clear()
                return


class Origin:
    """An HTTP/1 origin that does what its script says, with whatever a balancer sends it.

    script: for each request, once its head (and its body, unless `read_body` is false) has come.
    on_connect: for each connection, before anything is read: `[Reset()]`, `[Send(b"garbage")]`, `[Hang()]` …
    address: (host, port) or the path of a Unix socket; the default is a free port on 127.0.0.1.
    continues: answers `Expect: 100-continue` before it reads the body.

    `requests` grows as heads come in; `wait_requests` waits for that. A script may be replaced at any time. Keep-alive
    lasts until the script closes.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        on_connect: Sequence[Step] = (),
        address: Address = ("127.0.0.1", 0),
        read_body: bool = True,
        continues: bool = True,
    ) -> None:
        self.script: Script = respond(b"ok") if script is None else script
        self.on_connect = on_connect
        self.requests: list[Request] = []
        self.connections = 0  # accepted so far
        self.open_connections = 0
        self.bytes_received = 0
        self._wanted = address
        self._read_body = read_body
        self._continues = continues
        self._changed = threading.Condition()
        self._background: BackgroundLoop | None = None
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._address: Address = address

    @property
    def address(self) -> Address:
        """(host, port), or the path of a Unix socket."""
        return self._address

    @property
    def name(self) -> str:
        """The address as a configuration has it."""
        if isinstance(self._address, str):
            return f"unix:{self._address}"
        host, port = self._address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __enter__(self) -> Self:
        self._background = BackgroundLoop("scripted origin")
        try:
            self.listen()
        except BaseException:
            self._background.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        background, self._background = self._background, None
        if background is not None:
            background.run(self._stop(connections=True))
            background.close()

    def listen(self) -> None:
        """Listens again, on the same address, after `refuse`."""
        assert self._background is not None, "not started: use 'with'"
        self._listener = listen_on(self._wanted)
        self._wanted = self._address = address_of(self._listener)
        listener = self._listener
        self._background.call(lambda: accept_all(listener, self._take))

    def refuse(self, *, drop: bool = True) -> None:
        """Stops listening, so that connecting is refused; `drop` also closes what is open. `listen` ends it."""
        assert self._background is not None, "not started: use 'with'"
        self._background.run(self._stop(connections=drop))

    def wait_requests(self, count: int, timeout: float = 10.0) -> list[Request]:
        """The requests, once there are `count` of them; AssertionError when there are not in time."""
        self._wait(lambda: len(self.requests) >= count, timeout, lambda: f"{len(self.requests)} of {count} requests")
        return self.requests

    def wait_connections(self, count: int, timeout: float = 10.0) -> None:
        """Returns once so many connections were accepted."""
        self._wait(lambda: self.connections >= count, timeout, lambda: f"{self.connections} of {count} connections")

    def wait_closed(self, timeout: float = 10.0) -> None:
        """Returns once no connection is open."""
        self._wait(lambda: self.open_connections == 0, timeout, lambda: f"{self.open_connections} connections are open")

    def wait_bytes(self, count: int, timeout: float = 10.0) -> None:
        """Returns once so many bytes were received."""
        self._wait(lambda: self.bytes_received >= count, timeout, lambda: f"{self.bytes_received} of {count} bytes")

    def _wait(self, done: Callable[[], bool], timeout: float, state: Callable[[], str]) -> None:
        with self._changed:
            if not self._changed.wait_for(done, timeout):
                raise AssertionError(f"origin {self.name}: {state()} after {timeout:g} s")

    def _note_bytes(self, count: int) -> None:
        with self._changed:
            self.bytes_received += count
            self._changed.notify_all()

    async def _stop(self, *, connections: bool) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
        if connections:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, sock: socket.socket) -> None:
        with self._changed:
            number = self.connections
            self.connections += 1
            self.open_connections += 1
            self._changed.notify_all()
        task = asyncio.get_running_loop().create_task(self._serve(sock, number))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:  # also of a task that was cancelled before its first step
            self._tasks.discard(task)
            sock.close()
            with self._changed:
                self.open_connections -= 1
                self._changed.notify_all()

        task.add_done_callback(ended)

    async def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            first = Exchange(self, sock, number)
            await first.play(list(self.on_connect))
            left = first.received
            while True:
                exchange = Exchange(self, sock, number)
                exchange.received = left
                if not await exchange._read_head():
                    return
                with self._changed:
                    self.requests.append(exchange.request)
                    self._changed.notify_all()
                if self._read_body:
                    if self._continues and (exchange.request.header("expect") or "").lower() == "100-continue":
                        await exchange.play([interim(100)])
                    await exchange.read_body()
                await exchange.play(self.script)
                left = exchange.received
        except _Ended:
            pass
