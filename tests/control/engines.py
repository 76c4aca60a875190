"""A real engine on the test's own loop, with what a supervisor has around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastlb.config import parse
from fastlb.control.builder import Engine
from fastlb.control.region import Region
from fastlb.control.resolve import resolve
from fastlb.control.server_state import publish
from fastlb.control.slots import Slots
from fastlb.control.sockets import Listeners
from fastlb.spec import Spec


class Running:
    """`engine` runs `spec`; `apply` gives it another one."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.slots = Slots()
        self.assignment = self.slots.assign(self.spec)
        self.region = Region.create(False, 1)
        publish(self.region, self.spec, self.assignment, self.slots.fresh())
        self.listeners = Listeners(1, reuse_port=False)
        self.listeners.open(self.spec)
        self.engine = Engine(self.region, 0, asyncio.get_running_loop())
        self.engine.apply(self.spec, self.assignment)
        for number, frontend, index, sock in self.listeners.of_slot(0):
            self.engine.listen(number, frontend, index, sock)

    async def apply(self, mapping: dict[str, Any]) -> Spec:
        spec, _ = await resolve(parse(mapping))
        assignment = self.slots.assign(spec)
        publish(self.region, spec, assignment, self.slots.fresh(), before=self.spec)
        self.engine.apply(spec, assignment)
        self.spec, self.assignment = spec, assignment
        return spec

    def address(self, frontend: str = "web") -> tuple[str, int]:
        host, port = self.listeners.addresses()[frontend][0]
        return str(host), int(port)

    async def send(self, data: bytes, frontend: str = "web") -> bytes:
        """Everything that comes back until the engine closes, or 0.2 s pass in silence behind an answer."""
        reader, writer = await asyncio.open_connection(*self.address(frontend))
        try:
            writer.write(data)
            got = b""
            while True:
                try:
                    piece = await asyncio.wait_for(reader.read(65536), 0.2 if got else 5.0)
                except TimeoutError:
                    return got
                if not piece:
                    return got
                got += piece
        finally:
            writer.close()


@asynccontextmanager
async def running(mapping: dict[str, Any]) -> AsyncIterator[Running]:
    spec, problems = await resolve(parse(mapping))
    assert not problems
    one = Running(spec)
    try:
        yield one
    finally:
        one.engine.close()
        one.listeners.close()


@asynccontextmanager
async def origin(answer: bytes) -> AsyncIterator[str]:
    """A server that answers every connection's first request with these bytes and closes; its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


def one_backend(*servers: Any, **frontend: Any) -> dict[str, Any]:
    """A frontend `web` on a free port over a backend `app`."""
    return {
        "log": {"access": "off", "level": "error"},
        "frontends": {"web": {"listen": ["127.0.0.1:0"], "backend": "app", **frontend}},
        "backends": {"app": {"servers": list(servers) or ["127.0.0.1:9"]}},
    }
