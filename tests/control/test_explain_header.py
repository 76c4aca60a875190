"""X-Fastlb-Explain: what trusted clients are told of each response."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from tests.control.engines import Running, one_backend, origin, running

GOOD = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def explained(answer: bytes) -> dict[str, str]:
    """The header as a dictionary; {} without one. The body must be whole."""
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.findall(rb"(?m)^X-Fastlb-Explain: (.*)\r?$", head)
    length = re.search(rb"(?mi)^content-length: (\d+)\r?$", head)
    assert length and len(body) == int(length[1])
    if not found:
        return {}
    assert len(found) == 1
    return {key: value.strip('"') for key, value in re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|[\d.]+)', found[0].decode())}


async def asked(mapping: dict[str, Any], data: bytes = GOOD) -> dict[str, str]:
    async with running(mapping) as engine:
        return explained(await engine.send(data))


def test_a_response_of_a_server() -> None:
    async def main() -> None:
        async with origin(OK) as server:
            routes = [{"path": "/b", "backend": "app"}, {"name": "to_a", "path": "/a", "backend": "app"}]
            mapping = one_backend(server, explain=["127.0.0.0/8"], routes=routes)
            told = await asked(mapping)
            assert told["frontend"] == "web" and told["route"] == "to_a" and told["backend"] == "app"
            assert told["server"] == server and told["attempts"] == "1"
            assert all(re.fullmatch(r"\d+\.\d{3}", told[key]) for key in ("queue", "connect", "response"))
            assert "reason" not in told
            del routes[1]["name"]
            assert (await asked(mapping))["route"] == "2"
            routes.pop()
            assert (await asked(mapping))["route"] == "default"

    asyncio.run(main())


def test_others_are_told_nothing() -> None:
    async def main() -> None:
        async with origin(OK) as server:
            assert await asked(one_backend(server)) == {}
            assert await asked(one_backend(server, explain=["10.0.0.0/8", "::1"])) == {}

    asyncio.run(main())


def test_answers_made_here() -> None:
    async def main() -> None:
        mapping = one_backend("127.0.0.1:1", explain=["127.0.0.1"], routes=[{"path": "/gone", "redirect": "/new"}])
        told = await asked(mapping)  # nobody listens there
        assert told["server"] == "127.0.0.1:1" and told["attempts"] == "1" and "fail" in told["reason"]
        assert "response" not in told
        told = await asked(mapping, GOOD.replace(b"/a", b"/gone"))
        assert told["route"] == "1" and "backend" not in told
        told = await asked(mapping, b"GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n")
        assert told["frontend"] == "web" and told["reason"] and "route" not in told
        mapping["frontends"]["web"].pop("backend")
        assert (await asked(mapping))["reason"] == "no route matches"

    asyncio.run(main())


def test_a_reload_turns_it_on_and_off() -> None:
    async def send(engine: Running) -> dict[str, str]:
        return explained(await engine.send(GOOD))

    async def main() -> None:
        async with origin(OK) as server, running(one_backend(server)) as engine:
            listen = f"127.0.0.1:{engine.address()[1]}"
            assert await send(engine) == {}
            await engine.apply(one_backend(server, listen=[listen], explain=["127.0.0.1"]))
            assert (await send(engine))["backend"] == "app"
            await engine.apply(one_backend(server, listen=[listen]))
            assert await send(engine) == {}

    asyncio.run(main())
