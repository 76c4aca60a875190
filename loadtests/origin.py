"""An origin server with a little life of its own: `python -m loadtests.origin --name s1 --port 8001 ...`.

One process is one server, so that it can be killed, frozen and replaced. It works on `slots` requests at a time, each
for a random time, and lets the rest wait: under too much load it answers late, as servers do. Every response says who
answered (X-Origin). Paths:

/                   a small page                       /product/N  a page of 4 KB
/download/BYTES     so many bytes                      /upload     POST; answers how many bytes came
/cart/add, /cart    the basket of the cookie `cart`, kept in this process and nowhere else
/cache/KEY          a cache of its own, X-Cache: hit or miss; a miss takes ten times as long
/chat/ROOM          WebSocket: what one says, all in the room of this process hear
/health             200, or 503 when it is told to be sick
/control            settings (a query: seconds=0.1&slots=2&sick=1&fail=0.5); asked directly, never through a balancer
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections import OrderedDict
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl

import httptools
import uvloop

from loadtests.chat import ChatConnection, Rooms

PAGE = b"<!doctype html><title>shop</title>" + b"<p>goods</p>" * 10
PRODUCT = (b"A spade, of ash and forged steel. " * 128)[:4096]
CHUNK = b"0123456789abcdef" * 4096


class Shop:
    """The server's state: settings, baskets, cache, and the slots it works in."""

    def __init__(self, name: str, settings: dict[str, float], seed: int) -> None:
        self.name = name
        self.settings = {"seconds": 0.004, "slots": 64, "cache": 100, "sick": 0, "fail": 0, **settings}
        self.random = random.Random(f"{seed}:{name}")
        self.carts: dict[str, int] = {}
        self.cache: OrderedDict[str, None] = OrderedDict()
        self.rooms = Rooms()
        self.working = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def work(self, factor: float = 1.0) -> None:
        """Waits for a slot and then as long as the work takes."""
        while self.working >= self.settings["slots"]:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self.working += 1
        try:
            await asyncio.sleep(self.random.expovariate(1 / max(self.settings["seconds"] * factor, 1e-6)))
        finally:
            self.working -= 1
            if self._waiting:
                self._waiting.pop(0).set_result(None)

    def lookup(self, key: str) -> bool:
        """True for a hit; afterwards the key is in, and the one used longest ago perhaps out."""
        hit = key in self.cache
        self.cache[key] = None
        self.cache.move_to_end(key)
        if len(self.cache) > self.settings["cache"]:
            self.cache.popitem(last=False)
        return hit


class Connection(asyncio.Protocol):
    """One connection: requests are answered one after the other, in a task."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._requests: asyncio.Queue[tuple[str, dict[str, str], int]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._chat: ChatConnection | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = 0
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not derive from it
        self._task = asyncio.get_running_loop().create_task(self._answer())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._chat is not None:
            self._chat.lost()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._chat is not None:
            self._chat.received(data)
            return
        self._head += data[: 8192 - len(self._head)]
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._chat = ChatConnection(self._transport, self._shop.rooms, self._shop.name)
            self._chat.received(self._head)
        except httptools.HttpParserError:
            self._transport.close()

    # ---- httptools' callbacks

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", {}, 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._body += len(data)

    def on_message_complete(self) -> None:
        if "upgrade" not in self._headers:
            self._head = b""
            self._requests.put_nowait((self._url.decode("latin-1"), self._headers, self._body))

    # ---- answers

    async def _answer(self) -> None:
        while True:
            url, headers, body = await self._requests.get()
            path, _, query = url.partition("?")
            if path == "/control":
                self._shop.settings.update({k: float(v) for k, v in parse_qsl(query)})
                facts = {"settings": self._shop.settings, "working": self._shop.working, "carts": len(self._shop.carts)}
                self._send(HTTPStatus.OK, json.dumps(facts).encode())
            elif path == "/health":
                sick = self._shop.settings["sick"]
                self._send(HTTPStatus.SERVICE_UNAVAILABLE if sick else HTTPStatus.OK, b"sick" if sick else b"well")
            elif self._shop.random.random() < self._shop.settings["fail"]:
                self._send(HTTPStatus.INTERNAL_SERVER_ERROR, b"told to fail")
            else:
                await self._serve(path, headers, body)

    async def _serve(self, path: str, headers: dict[str, str], body: int) -> None:
        shop = self._shop
        _, kind, *rest = path.split("/")
        if kind == "cache" and rest:
            hit = shop.lookup(rest[0])
            await shop.work(1.0 if hit else 10.0)
            self._send(HTTPStatus.OK, PRODUCT, f"X-Cache: {'hit' if hit else 'miss'}\r\n")
            return
        await shop.work()
        if kind == "cart":
            self._cart(headers, adding=rest == ["add"])
        elif kind == "upload":
            self._send(HTTPStatus.OK, str(body).encode())
        elif kind == "download" and rest and rest[0].isdigit():
            await self._download(int(rest[0]))
        elif kind in ("", "product", "search"):
            self._send(HTTPStatus.OK, PRODUCT if kind == "product" else PAGE)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"no such page")

    def _cart(self, headers: dict[str, str], adding: bool) -> None:
        """A basket that this process does not know, though the visitor says that it holds something, is lost: 409."""
        cookies = dict(part.strip().partition("=")[::2] for part in headers.get("cookie", "").split(";"))
        cart, believed = cookies.get("cart", ""), int(headers.get("x-cart-items", "0"))
        known = self._shop.carts.get(cart, 0)
        if believed and known != believed:
            self._send(HTTPStatus.CONFLICT, f"{known} of {believed} things".encode())
            return
        if adding:
            self._shop.carts[cart] = known = known + 1
        self._send(HTTPStatus.OK, str(known).encode())

    async def _download(self, size: int) -> None:
        assert self._transport is not None
        self._transport.write(self._head_of(HTTPStatus.OK, size))
        while size > 0:
            await self._drained.wait()
            self._transport.write(CHUNK[: min(size, len(CHUNK))])
            size -= len(CHUNK)

    def _head_of(self, status: HTTPStatus, length: int, extra: str = "") -> bytes:
        return (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: {length}\r\nX-Origin: {self._shop.name}\r\n"
            f"Content-Type: text/plain\r\n{extra}\r\n"
        ).encode()

    def _send(self, status: HTTPStatus, body: bytes, extra: str = "") -> None:
        assert self._transport is not None
        self._transport.write(self._head_of(status, len(body), extra) + body)


async def serve(name: str, port: int, settings: dict[str, float], seed: int) -> None:
    """Serves until the process ends; TERM lets it go at once, as the balancer should have drained it before."""
    shop = Shop(name, settings, seed)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(shop), "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.origin", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", default="", help="settings as a query: seconds=0.1&slots=2")
    options = parser.parse_args()
    settings = {k: float(v) for k, v in parse_qsl(options.set)}
    uvloop.run(serve(options.name, options.port, settings, options.seed))


if __name__ == "__main__":
    main()
