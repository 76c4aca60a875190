"""Upgraded connections: WebSockets, and the tunnel below them step by step."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from .balancer import Balancer, Balancers
from .wire import Origin, Wire

ASK = (
    "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
)


def tunnel(lb: Balancer, origin: Origin) -> tuple[Wire, Wire]:
    """Both ends of an upgraded connection."""
    client = lb.dial().send(ASK)
    server, request = origin.request()
    assert request.get("upgrade") == "websocket"
    assert (request.get("connection") or "").lower() == "upgrade"
    assert request.get("x-hop") is None
    server.send(SWITCH)
    head = client.head()
    assert (head.status, head.get("upgrade")) == (101, "websocket")
    assert (head.get("connection") or "").lower() == "upgrade"
    return client, server


def test_bytes_go_both_ways(plain: Balancer, server: Origin) -> None:
    client, wire = tunnel(plain, server)
    for i in range(3):
        client.send(f"c{i}\0\r\n\r\n")
        assert wire.exactly(7) == f"c{i}\0\r\n\r\n".encode()
        wire.send(f"s{i}")
        assert client.exactly(2) == f"s{i}".encode()
    client.close()
    assert wire.ended() == "fin"
    wire.close()  # until then it may go on sending: one side's end is not the other's
    line = plain.logged("/chat")
    assert (line.status, line.term) == (101, "----")


def test_bytes_sent_without_waiting(plain: Balancer, server: Origin) -> None:
    """What comes with the request, while it is under way, and together with the 101."""
    client = plain.dial().send(ASK, "early ")
    wire, _ = server.request()
    client.send("bird")
    wire.silent(0.02)
    wire.send(SWITCH, "worm")
    assert client.head().status == 101
    assert client.exactly(4) == b"worm"
    assert wire.exactly(10) == b"early bird"


def test_half_close_is_carried_across(plain: Balancer, server: Origin) -> None:
    client, wire = tunnel(plain, server)
    client.send("last words").finish()
    assert wire.rest() == b"last words"
    wire.send("answer " * 10_000)
    assert client.exactly(70_000) == b"answer " * 10_000
    wire.close()
    assert client.ended() == "fin"


def test_server_closes_first(plain: Balancer, server: Origin) -> None:
    client, wire = tunnel(plain, server)
    wire.send("bye").finish()
    assert client.rest() == b"bye"
    client.send("bye too")
    assert wire.exactly(7) == b"bye too"
    client.close()
    assert wire.ended() in ("fin", "reset")


def test_reset_of_one_side_resets_the_other(plain: Balancer, server: Origin) -> None:
    client, wire = tunnel(plain, server)
    wire.reset()
    assert client.ended() == "reset"
    client, wire = tunnel(plain, server)
    client.reset()
    assert wire.ended() == "reset"


def test_upgrade_refused_by_the_server(plain: Balancer, server: Origin) -> None:
    client = plain.dial().send(ASK)
    wire, _ = server.request()
    wire.answer("no", status="403 Forbidden")
    assert client.response().status == 403
    client.get("/still-http")
    wire, request = server.request()
    assert request.target == "/still-http"
    wire.answer("ok")
    assert client.response().text == "ok"


def test_h2c_upgrade_is_not_passed_on(plain: Balancer, server: Origin) -> None:
    client = plain.dial().get("/x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA")
    wire, request = server.request()
    assert request.get("upgrade") is None
    wire.answer("ok")
    assert client.response().text == "ok"


def test_idle_tunnel_is_closed(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, timeouts={"tunnel": "300ms", "client": "100ms", "server": "100ms"})
    client, server = tunnel(lb, origin)
    for _ in range(3):  # longer in all than the time, and than that of a body
        assert client.silent(0.15)
        server.send("x")
        assert client.exactly(1) == b"x"
    assert client.ended() in ("fin", "reset")
    assert server.ended() in ("fin", "reset")
    line = lb.logged("/chat")
    assert line.term in ("cD--", "sD--")
    assert line.ta >= 700


def test_tunnel_holds_back_the_fast_side(balancer: Balancers) -> None:
    origin = Origin(receive_buffer=8192)
    lb = balancer(origin)
    client, server = tunnel(lb, origin)
    before = lb.memory()
    size = 40_000_000
    sender = threading.Thread(target=client.send, args=(b"x" * size,))
    sender.start()
    sender.join(0.5)
    assert sender.is_alive(), "more was taken than the buffers of the kernel hold"
    assert lb.memory() - before < 2_000_000
    got = 0
    while got < size:
        got += len(server.exactly(min(1_000_000, size - got)))
    sender.join()
    server.send("done")
    assert client.exactly(4) == b"done"


# --- real WebSockets


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a WebSocket server that sends everything back."""

    async def back(connection: ServerConnection) -> None:
        try:
            async for message in connection:
                await connection.send(message)
        except ConnectionClosed:
            pass  # cut by the balancer's stop

    loop = asyncio.new_event_loop()
    port: Future[int] = Future()
    stop = asyncio.Event()

    async def run() -> None:
        async with serve(back, "127.0.0.1", 0, max_size=None) as server:
            port.set_result(next(iter(server.sockets)).getsockname()[1])
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    yield port.result(10)
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_websockets(balancer: Balancers, echo: int) -> None:
    lb = balancer(f"127.0.0.1:{echo}")

    async def talk(number: int) -> None:
        async with connect(f"ws://127.0.0.1:{lb.ports['web']}/{number}", max_size=None) as socket:
            for message in ("text", b"\0\1\2", "", "é" * 1000, b"x" * 3_000_000):
                await socket.send(message)
                assert await socket.recv() == message
            await (await socket.ping())
            many = [f"{number}-{i}" for i in range(200)]
            for text in many:
                await socket.send(text)
            assert [await socket.recv() for _ in many] == many

    async def all_at_once() -> None:
        await asyncio.gather(*(talk(i) for i in range(10)))

    before = lb.descriptors()
    asyncio.run(all_at_once())
    lb.settled(before)
    assert lb.logged("/7 ").status == 101
