"""Listeners and servers of every family, and the balancer inside an application's own loop."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
import uvloop

import fastlb
from tests.helpers import free_port

from .balancer import Balancers
from .servers import Answering
from .wire import Origin, Wire


def test_ipv6(balancer: Balancers, origin: Origin) -> None:
    port = free_port("::1")
    forwarded = {"forwarded": True}
    lb = balancer(origin, frontend={"listen": f"[::1]:{port}", "forwarded": forwarded})
    client = Wire(socket.create_connection(("::1", port))).get("/six")
    server, request = origin.request()
    assert request.get("x-forwarded-for") == "::1"
    assert (request.get("forwarded") or "").startswith('for="[::1]"')
    server.answer("ok")
    assert client.response().text == "ok"
    assert " ::1:" in lb.program.wait_line("/six").string


def test_unix_sockets_on_both_sides(balancer: Balancers, tmp_path: Path) -> None:
    path, behind = str(tmp_path / "front.sock"), str(tmp_path / "back.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(behind)
        listener.listen()
        listener.settimeout(10)
        lb = balancer(f"unix:{behind}", frontend={"listen": f"unix:{path}"})
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        client = Wire(sock)
        server = None
        for i in range(3):
            client.get(f"/unix{i}")
            server = server or Wire(listener.accept()[0])
            assert server.request().target == f"/unix{i}"
            server.answer("ok")
            assert client.response().text == "ok"
        assert lb.program.wait_line('"GET /unix2 ')


def test_every_address_of_both_families(balancer: Balancers, origin: Origin) -> None:
    port = free_port()
    balancer(origin, frontend={"listen": f":{port}"}, backend={"pool": {"size": 0}})
    for host, seen in (("127.0.0.1", "127.0.0.1"), ("::1", "::1")):
        client = Wire(socket.create_connection((host, port))).get("/")
        server, request = origin.request()
        assert request.get("x-forwarded-for") == seen  # never a v4-mapped form
        server.answer("ok")
        assert client.response().text == "ok"


def test_several_listeners_of_several_frontends(balancer: Balancers) -> None:
    with Answering(lambda request: b"one") as one, Answering(lambda request: b"two") as two:
        lb = balancer(
            one.address,
            frontends={"other": {"backend": "two"}},
            backends={"two": {"servers": [two.address]}},
        )
        for _ in range(2):
            assert lb.dial().get("/").response().text == "one"
            assert lb.dial("other").get("/").response().text == "two"


def test_server_by_name(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(f"localhost:{origin.where[1]}")
    client = lb.dial().get("/")
    server, _ = origin.request()
    server.answer("ok")
    assert client.response().text == "ok"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_inside_an_application(loop) -> None:  # type: ignore[no-untyped-def]
    """`async with fastlb.LoadBalancer(...)` beside other work on the same loop, twice in a row."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            if reader.at_eof():
                break

    async def fetch(where: tuple[str, int]) -> bytes:
        reader, writer = await asyncio.open_connection(*where)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the balancer has closed
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(handled, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        balancer = fastlb.LoadBalancer(
            {
                "log": {"access": "off"},
                "frontends": {"web": {"listen": ["127.0.0.1:0"], "backend": "app"}},
                "backends": {"app": {"servers": [f"{host}:{port}"]}},
            }
        )
        for _ in range(2):
            async with balancer as lb:
                where = lb.addresses["web"][0]
                answers = await asyncio.gather(*(fetch(where) for _ in range(50)))
                assert all(a.endswith(b"\r\n\r\nhello") for a in answers)
            with pytest.raises(OSError):
                await fetch(where)
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
