"""What the engine tells of its clients: who they are and what they are doing."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tests.control.engines import Running, one_backend, running


def told(engine: Running, most: int = 100) -> list[tuple[str, str]]:
    found, total = engine.engine.connections(most)
    assert total == engine.engine.active() and len(found) <= min(most, total)
    return [(one["state"], one["request"]["line"] if one["request"] else "") for one in found]


async def until(engine: Running, expected: list[tuple[str, str]]) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        while told(engine) != expected:
            await asyncio.sleep(0.005)
    found, _ = engine.engine.connections(100)
    return list(found)


class Origin:
    """Notes what comes, and says what the test has it say."""

    def __init__(self) -> None:
        self.streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams.append((reader, writer))

    async def started(self, number: int) -> asyncio.StreamWriter:
        async with asyncio.timeout(20):
            while len(self.streams) < number:
                await asyncio.sleep(0.005)
        return self.streams[number - 1][1]


def test_states_of_http() -> None:
    async def main() -> None:
        origin = Origin()
        server = await asyncio.start_server(origin, "127.0.0.1", 0)
        address = "{}:{}".format(*server.sockets[0].getsockname())
        mapping = one_backend(address)
        mapping["backends"]["app"]["servers"] = [{"name": "s1", "address": address}]
        mapping["backends"]["app"]["max_connections"] = 1
        async with server, running(mapping) as engine:
            assert told(engine) == []
            one = await asyncio.open_connection(*engine.address())
            await until(engine, [("idle", "")])
            one[1].write(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
            (found,) = await until(engine, [("sending", "POST /a HTTP/1.1")])
            host, port = one[1].get_extra_info("sockname")
            assert (found["frontend"], found["client"], found["client_port"], found["tls"]) == (
                "web",
                host,
                port,
                False,
            )
            assert (found["request"]["backend"], found["request"]["server"], found["request"]["attempts"]) == (
                "app",
                "s1",
                1,
            )
            one[1].write(b"67890")
            await until(engine, [("waiting", "POST /a HTTP/1.1")])
            # another one waits for the only place
            two = await asyncio.open_connection(*engine.address())
            two[1].write(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
            found_both = await until(engine, [("waiting", "POST /a HTTP/1.1"), ("queued", "GET /b HTTP/1.1")])
            assert found_both[1]["request"]["server"] == ""
            assert found_both[0]["request"]["seconds"] >= found_both[1]["request"]["seconds"] >= 0
            assert told(engine, 1) == [("waiting", "POST /a HTTP/1.1")] and told(engine, 0) == []
            writer = await origin.started(1)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
            assert (await one[0].readuntil(b"ab")).startswith(b"HTTP/1.1 200")
            first, _ = await until(engine, [("receiving", "POST /a HTTP/1.1"), ("queued", "GET /b HTTP/1.1")])
            assert first["request"]["bytes_out"] > 0
            writer.write(b"cde")
            await until(engine, [("waiting", "GET /b HTTP/1.1"), ("idle", "")])
            for _, client in (one, two, *origin.streams):
                client.close()
            await until(engine, [])

    asyncio.run(main())


def test_a_long_request_line_is_cut_and_a_session_is_a_tunnel() -> None:
    async def main() -> None:
        origin = Origin()
        server = await asyncio.start_server(origin, "127.0.0.1", 0)
        mapping = one_backend("{}:{}".format(*server.sockets[0].getsockname()))
        mapping["frontends"]["db"] = {"listen": ["127.0.0.1:0"], "mode": "tcp", "backend": "store"}
        mapping["backends"]["store"] = {"mode": "tcp", "servers": mapping["backends"]["app"]["servers"]}
        async with server, running(mapping) as engine:
            _, one = await asyncio.open_connection(*engine.address())
            one.write(b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(engine, [("waiting", "GET /" + "x" * 251)])
            _, two = await asyncio.open_connection(*engine.address("db"))
            two.write(b"hello")
            found = await until(engine, [("waiting", "GET /" + "x" * 251), ("tunnel", "")])
            assert (found[1]["frontend"], found[1]["request"]["backend"]) == ("db", "store")
            for client in (one, two, await origin.started(1), await origin.started(2)):
                client.close()
            await until(engine, [])

    asyncio.run(main())


def test_flows_of_datagrams_are_told_of() -> None:
    async def main() -> None:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
        ):
            for sock in (server, one, two):
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
            address = "{}:{}".format(*server.getsockname())
            mapping: dict[str, Any] = {
                "log": {"access": "off", "level": "error"},
                "frontends": {"dns": {"mode": "udp", "listen": ["127.0.0.1:0"], "backend": "names"}},
                "backends": {"names": {"mode": "udp", "servers": [{"name": "n1", "address": address}]}},
            }
            loop = asyncio.get_running_loop()
            async with running(mapping) as engine, asyncio.timeout(20):
                assert told(engine) == []
                for number, sock in enumerate((one, two), 1):
                    sock.connect(engine.address("dns"))
                    await loop.sock_sendall(sock, b"12345")
                    data, origin = await loop.sock_recvfrom(server, 100)
                    assert data == b"12345"
                    await loop.sock_sendto(server, b"answer", origin)
                    assert await loop.sock_recv(sock, 100) == b"answer"
                    await until(engine, [("flow", "")] * number)
                found, total = engine.engine.connections(1)
                assert (len(found), total) == (1, 2)
                (first,) = found  # the oldest
                assert (first["client"], first["client_port"]) == one.getsockname()
                assert (first["frontend"], first["tls"]) == ("dns", False)
                request = first["request"]
                assert (request["backend"], request["server"], request["attempts"]) == ("names", "n1", 1)
                assert (request["bytes_in"], request["bytes_out"]) == (5, 6) and request["seconds"] >= 0

    asyncio.run(main())
