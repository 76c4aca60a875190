"""Keys of session tickets are replaced in turn: old tickets are taken for a while, and then no more."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from fastlb.config import parse
from fastlb.control.tickets import KEPT, KEY, TicketKeys
from fastlb.engine.libssl import problem
from fastlb.runtime import Embedded
from tests.certificates import Authority


def test_the_oldest_key_is_forgotten() -> None:
    keys = TicketKeys()
    first = keys.keys[0]
    assert len(first) == KEY
    for _ in range(KEPT - 1):
        keys.rotate()
        assert first in keys.keys
    keys.rotate()
    assert first not in keys.keys
    assert len(set(keys.keys)) == KEPT


def resumed(port: int, context: ssl.SSLContext, session: Any = None) -> tuple[bool, Any]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        with context.wrap_socket(plain, session=session) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while s.recv(4096):  # with TLS 1.3 the ticket comes with the first bytes
                pass
            return bool(s.session_reused), s.session


async def _rotations(tmp_path: Path, version: ssl.TLSVersion) -> list[bool]:
    Authority("Tickets").issue(tmp_path / "site.pem", "a.test")
    listen = {"address": "127.0.0.1:0", "tls": {"cert": str(tmp_path / "site.pem")}}
    route = {"path": "/*", "respond": {"status": 200, "body": "ok"}}
    spec = parse({"frontends": {"web": {"listen": [listen], "routes": [route]}}, "log": {"access": "off"}})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    found = []
    async with Embedded(spec) as lb:
        (_, port) = lb.addresses["web"][0]
        service, crew = lb._service, lb._crew
        assert service is not None
        assert crew is not None
        _, session = await asyncio.to_thread(resumed, port, context)
        for _ in range(KEPT + 1):
            # The first ticket each time, not the one that a resumed session brings.
            found.append((await asyncio.to_thread(resumed, port, context, session))[0])
            await service.tls.rotate(crew)
    return found


@pytest.mark.skipif(bool(problem()), reason="tickets are each worker's own without libssl's calls")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_ticket_is_taken_until_its_key_is_forgotten(tmp_path: Path, version: ssl.TLSVersion) -> None:
    found = asyncio.run(_rotations(tmp_path, version))
    # The fourth rotation throws its key away.
    assert found == [True] * KEPT + [False]
