"""Requests that wait for a verdict are counted: as long as there are any the engine does not wait for events itself."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading

import pytest

from fastlb.auth.basic import Passwords
from fastlb.auth.verdict import Verdict
from tests.control.engines import Running, one_backend, running

BCRYPT = "bcrypt:$2y$05$bmpId45KmxInY7Oy8jKJVOeUpD6SPF7dO542czytPckzXas.P..3i"


async def until_awaited(engine: Running, number: int) -> None:
    async with asyncio.timeout(20):
        while engine.engine.status()["awaited"] != number:
            await asyncio.sleep(0.005)


def ask(name: str) -> bytes:
    """Its credentials are nobody's: verdicts come from the test."""
    return f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {name}\r\nConnection: close\r\n\r\n".encode()


def test_verdicts_are_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def verify(_: Passwords, credentials: bytes) -> Verdict:
        assert go.wait(60)
        return Verdict(403, reason=b"no")

    monkeypatch.setattr(Passwords, "verify", verify)

    async def main() -> None:
        mapping = one_backend(auth="staff")
        mapping["auth"] = {"staff": {"basic": {"users": [BCRYPT], "failures": 0}}}
        async with running(mapping) as engine:
            await until_awaited(engine, 0)
            clients = [await asyncio.open_connection(*engine.address()) for _ in range(4)]
            # Two bring the same credentials: one verification, two who wait.
            for (_, writer), name in zip(clients, ("b25l", "b25l", "dHdv", "dGhyZWU="), strict=True):
                writer.write(ask(name))
            await until_awaited(engine, 4)
            for _, writer in clients[1:3]:
                # With a reset: whose end comes together with its request waits for the answer.
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.close()
            await until_awaited(engine, 2)
            go.set()
            for reader, writer in (clients[0], clients[3]):
                assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
                writer.close()
            await until_awaited(engine, 0)

    try:
        asyncio.run(main())
    finally:
        go.set()
