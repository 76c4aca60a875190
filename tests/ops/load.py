"""Load that tolerates nothing: every request is answered in full with 200, or it counts as failed, with the reason.

Clients are tasks on a loop of their own: some keep their connection, some make one a request, some hold a tunnel that
echoes. As a program it runs until its standard input ends, and prints what it saw:

    python -m tests.ops.load PORT KEPT NEW TUNNELS [SECURE]

KEPT, NEW and TUNNELS are numbers of clients, SECURE a port where half of the first two speak TLS.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import uvloop

UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
PATIENCE = 60.0  # seconds for one answer


@dataclass
class Seen:
    """What came of the requests."""

    requests: int = 0  # answered in full
    connections: int = 0
    closes: int = 0  # announced with Connection: close, or of an idle connection
    echoes: int = 0
    slowest: float = 0.0  # seconds
    failures: Counter[str] = field(default_factory=Counter)
    failed_ports: list[int] = field(default_factory=list)  # local ones of connections that failed; 0 = not even that


class HandshakeFailed(Exception):
    """The connection was accepted, from `port`, and no more came of it."""

    def __init__(self, port: int, error: OSError) -> None:
        super().__init__(repr(error))
        self.port = port


class Client:
    """A task; `stop` is looked at between two requests."""

    def __init__(self, port: int, seen: Seen, stop: asyncio.Event, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.seen = seen
        self.stop = stop
        self.tls = tls

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
        """A connection and its local port."""
        sock = socket.socket()
        try:
            async with asyncio.timeout(PATIENCE):
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
                port = sock.getsockname()[1]
                try:
                    name = "localhost" if self.tls else None
                    reader, writer = await asyncio.open_connection(sock=sock, ssl=self.tls, server_hostname=name)
                except OSError as error:
                    raise HandshakeFailed(port, error) from error
        except BaseException:
            sock.close()
            raise
        self.seen.connections += 1
        return reader, writer, port

    async def request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, close: bool) -> bool:
        """One request and its answer; whether the connection goes on."""
        began = time.monotonic()
        last = "Connection: close\r\n" if close else ""
        writer.write(f"GET / HTTP/1.1\r\nHost: a\r\n{last}\r\n".encode())
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
            fields = head.decode("latin-1").lower().split("\r\n")
            length = next((int(f[15:]) for f in fields if f.startswith("content-length:")), None)
            if not fields[0].startswith("http/1.1 200") or length is None:
                raise ValueError(fields[0])
            await reader.readexactly(length)
        self.seen.requests += 1
        self.seen.slowest = max(self.seen.slowest, time.monotonic() - began)
        return "connection: close" not in fields

    async def keep(self) -> None:
        """Request after request on one connection, and on a new one when that was announced to end."""
        while not self.stop.is_set():
            writer, port = None, 0
            try:
                reader, writer, port = await self.connect()
                while not self.stop.is_set() and await self.request(reader, writer, close=False):
                    pass
                self.seen.closes += not self.stop.is_set()
            except Exception as error:
                self.fail("kept", error, getattr(error, "port", port))
            finally:
                if writer is not None:
                    writer.close()

    async def renew(self) -> None:
        """A connection for each request."""
        while not self.stop.is_set():
            writer, port = None, 0
            try:
                reader, writer, port = await self.connect()
                await self.request(reader, writer, close=True)
                if await reader.read(1):
                    raise ValueError("bytes after the answer")
            except Exception as error:
                self.fail("new", error, getattr(error, "port", port))
            finally:
                if writer is not None:
                    writer.close()

    async def tunnel(self) -> None:
        """A tunnel that has to stay open and echo to the end."""
        writer, port = None, 0
        try:
            reader, writer, port = await self.connect()
            writer.write(UPGRADE)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                raise ValueError(head.split(b"\r\n")[0].decode())
            number = 0
            while not self.stop.is_set():
                number += 1
                text = f"{number:08d}".encode()
                writer.write(text)
                async with asyncio.timeout(PATIENCE):
                    if await reader.readexactly(8) != text:
                        raise ValueError("another echo")
                self.seen.echoes += 1
                await asyncio.sleep(0.01)
        except Exception as error:
            self.fail("tunnel", error, port)
        finally:
            if writer is not None:
                writer.close()

    def fail(self, kind: str, error: Exception, port: int) -> None:
        self.seen.failures[f"{kind}: {type(error).__name__}: {error}"] += 1
        self.seen.failed_ports.append(port)


class Load:
    """Runs while the `with` lasts. `seen` grows meanwhile."""

    def __init__(self, port: int, *, kept: int = 4, new: int = 2, tunnels: int = 0, secure: int = 0) -> None:
        self.seen = Seen()
        self._clients = (kept, new, tunnels)
        self._port = port
        self._secure = secure
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        plain = Client(self._port, self.seen, self._stop)
        secure = Client(self._secure, self.seen, self._stop, tls_context()) if self._secure else plain
        kept, new, tunnels = self._clients
        async with asyncio.TaskGroup() as group:
            for number in range(kept):
                group.create_task((secure if number % 2 else plain).keep())
            for number in range(new):
                group.create_task((secure if number % 2 else plain).renew())
            for _ in range(tunnels):
                group.create_task(plain.tunnel())

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE + 10)


def tls_context() -> ssl.SSLContext:
    """Trusts anybody: what is tested is that connections live."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def main() -> None:
    port, kept, new, tunnels, secure = map(int, [*sys.argv[1:], "0"][:5])
    with Load(port, kept=kept, new=new, tunnels=tunnels, secure=secure) as load:
        for _ in sys.stdin:  # a line asks
            print(json.dumps(vars(load.seen)), flush=True)
    print(json.dumps(vars(load.seen)), flush=True)


if __name__ == "__main__":
    main()
