"""A small quick origin: every request gets 200, an upgrade an echo. As a program it says its port."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


class Connection(asyncio.Protocol):
    """Requests have no bodies here."""

    def __init__(self) -> None:
        self._buffer = b""
        self._echo = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._echo:
            self._transport.write(data)
            return
        self._buffer += data
        while not self._echo and b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._echo = b"\nupgrade: echo" in head.lower()
            self._transport.write(SWITCH if self._echo else ANSWER)
        if self._echo and self._buffer:
            self._transport.write(self._buffer)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the starter is gone


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
