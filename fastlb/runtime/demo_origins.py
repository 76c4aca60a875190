"""Three small origin servers in one child process, for `fastlb serve --demo`.

Each answers who it is, as text or HTML by Accept. `/slow` takes two seconds, `/health` is what the checks ask, `POST
/down` and `POST /up` on an origin's own port change what it answers there. The process ends when the other end of the
descriptor it was given closes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import html
import json
import os
import signal
import socket
import sys

import httptools

COUNT = 3
SLOW = 2.0  # seconds that /slow takes


class Origin:
    """One origin: its name and what it knows of itself."""

    def __init__(self, number: int) -> None:
        self.name = f"origin-{number}"
        self.healthy = True
        self.requests = 0


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection of an origin."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: asyncio.Queue[tuple[str, str, dict[str, str], bool] | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._url = b""
        self._headers: dict[str, str] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._task = asyncio.get_running_loop().create_task(self._serve(transport))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._queue.put_nowait(None)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("latin-1")
        keep = bool(self._parser.should_keep_alive())
        path = self._url.decode("latin-1").partition("?")[0]
        self._queue.put_nowait((method, path, self._headers, keep))
        self._url, self._headers = b"", {}

    async def _serve(self, transport: asyncio.Transport) -> None:
        while (request := await self._queue.get()) is not None:
            method, path, headers, keep = request
            if path == "/slow":
                await asyncio.sleep(SLOW)
            status, kind, body = answer(self._origin, method, path, headers)
            head = (
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
                f"X-Origin: {self._origin.name}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
            )
            transport.write(head.encode() + (b"" if method == "HEAD" else body))
            if not keep:
                break
        transport.close()


def answer(origin: Origin, method: str, path: str, headers: dict[str, str]) -> tuple[str, str, bytes]:
    """(status, media type, body) of a response."""
    if path == "/health":
        return (
            ("200 OK", "text/plain", b"ok\n") if origin.healthy else ("503 Service Unavailable", "text/plain", b"no\n")
        )
    if method == "POST" and path in ("/up", "/down"):
        origin.healthy = path == "/up"
        return "200 OK", "text/plain", f"{origin.name} is {path[1:]} from now on\n".encode()
    origin.requests += 1
    facts = {
        "origin": origin.name,
        "request": f"{method} {path}",
        "requests so far": str(origin.requests),
        "client": headers.get("x-forwarded-for", "not told"),
        "scheme": headers.get("x-forwarded-proto", "not told"),
    }
    if path == "/json":
        return "200 OK", "application/json", json.dumps(facts).encode() + b"\n"
    if "text/html" in headers.get("accept", ""):
        rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in facts.items())
        page = f"<!doctype html><title>{origin.name}</title><h1>Hello from {origin.name}</h1><table>{rows}</table>\n"
        return "200 OK", "text/html", page.encode()
    return "200 OK", "text/plain", f"Hello from {origin.name}, request {origin.requests} here\n".encode()


async def run(parent: socket.socket) -> None:
    """Serves until the parent closes its end; tells it the ports first, a line with a JSON list."""
    loop = asyncio.get_running_loop()
    parent.setblocking(False)
    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for number in range(1, COUNT + 1):
            origin = Origin(number)
            server = await loop.create_server(lambda origin=origin: Connection(origin), "127.0.0.1", 0)  # type: ignore[misc]
            await stack.enter_async_context(server)
            ports.append(server.sockets[0].getsockname()[1])
        await loop.sock_sendall(parent, json.dumps(ports).encode() + b"\n")
        while await loop.sock_recv(parent, 64):
            pass
        # Not a close of the servers: from 3.12 on that waits for idle connections too.
        os._exit(0)


def main() -> int:
    """Entry of the child process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parent = socket.socket(fileno=parser.parse_args().fd)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal's go to the whole group; the parent decides
    asyncio.run(run(parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
