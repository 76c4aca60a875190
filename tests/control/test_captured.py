"""The last malformed message of each frontend and backend, as the engine keeps it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.control.engines import Running, one_backend, origin, running

GOOD = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def refused(engine: Running, data: bytes) -> dict[str, Any]:
    answer = await engine.send(data)
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), answer
    found = engine.engine.errors()
    assert len(found) == 1
    return dict(found[0])


def test_nothing_is_captured_of_good_traffic() -> None:
    async def main() -> None:
        async with (
            origin(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as server,
            running(one_backend(server)) as engine,
        ):
            assert (await engine.send(GOOD)).startswith(b"HTTP/1.1 200")
            assert engine.engine.errors() == []

    run(main())


@pytest.mark.parametrize(
    ("request_bytes", "fault", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n", b" Y: 1", "field"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n", b"\x00c", "field value"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n", b"\nC: d", ""),
        (b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", b"(T /", ""),
        (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", b"\x01 HTTP", ""),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"\n", ""),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 400 + b"\r\n", b"A: b\r\n", "field"),
    ],
)
def test_request_with_the_place_of_its_fault(request_bytes: bytes, fault: bytes, reason: str) -> None:
    async def main() -> None:
        async with running(one_backend()) as engine:
            before = time.time()
            found = await refused(engine, request_bytes)
            assert (found["kind"], found["proxy"], found["part"], found["server"]) == ("request", "web", "head", None)
            assert found["bytes"][found["position"] :].startswith(fault)
            assert found["bytes"] in request_bytes and len(found["bytes"]) <= 1024
            assert request_bytes[found["offset"] :].startswith(found["bytes"])
            assert reason in found["reason"] and found["reason"]
            assert before - 1 < found["at"] < time.time() + 1
            assert found["client"] == "127.0.0.1" and found["client_port"] > 0
            assert found["count"] == 1 and found["length"] <= len(request_bytes)
            assert found["status"] >= 400

    run(main())


def test_fault_behind_the_first_kilobytes_is_inside_the_window() -> None:
    async def main() -> None:
        async with running(one_backend()) as engine:
            data = b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 5000 + b"\x01" + b"y" * 3000 + b"\r\n\r\n"
            found = await refused(engine, data)
            at = found["offset"] + found["position"]
            assert data[at] == 1
            assert len(found["bytes"]) == 1024 and found["bytes"][found["position"]] == 1
            assert found["bytes"][: found["position"]].count(b"x") >= 700  # most of it is what led there

    run(main())


def test_request_in_pieces_is_captured_whole() -> None:
    async def main() -> None:
        async with running(one_backend()) as engine:
            reader, writer = await asyncio.open_connection(*engine.address())
            for piece in (b"GET / HTT", b"P/1.1\r\nHost: a\r\n", b"A: b", b"\x02"):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
            writer.close()
            (found,) = engine.engine.errors()
            assert found["bytes"] == b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x02" and found["position"] == 29

    run(main())


def test_chunks_of_a_request() -> None:
    async def main() -> None:
        async with running(one_backend()) as engine:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            found = await refused(engine, head + b"3\r\nabc\r\nzz\r\n")
            assert found["part"] == "body"
            assert found["bytes"][found["position"] :] == b"zz\r\n" and found["offset"] == 0

    run(main())


def test_the_last_one_wins_and_all_are_counted() -> None:
    async def main() -> None:
        async with running(one_backend()) as engine:
            await engine.send(b"GET / HTTP/1.1\r\nHost: a\r\nFirst : 1\r\n\r\n")
            await engine.send(b"GET / HTTP/1.1\r\nHost: a\r\nFlood : 1\r\n\r\n")  # within the gap, or behind it
            await asyncio.sleep(0.15)
            engine.engine.tick()
            await engine.send(b"GET / HTTP/1.1\r\nHost: a\r\nLast : 1\r\n\r\n")
            (found,) = engine.engine.errors()
            assert b"Last : 1" in found["bytes"] and found["count"] == 3

    run(main())


@pytest.mark.parametrize(
    ("answer", "fault", "part"),
    [
        (b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", b" b: c", "head"),
        (b"HTTP/1.1 20x OK\r\n\r\n", b"x OK", "head"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"HTTP/1.1 101", "head"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nxy\r\n", b"xy\r\n", "body"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 40, b"HTTP/1.1 100", "head"),
    ],
)
def test_response_with_the_place_of_its_fault(answer: bytes, fault: bytes, part: str) -> None:
    async def main() -> None:
        async with origin(answer) as server, running(one_backend(server)) as engine:
            answered = await engine.send(GOOD)
            assert b"HTTP/1.1 502" in answered
            (found,) = engine.engine.errors()
            assert (found["kind"], found["proxy"], found["frontend"], found["server"]) == (
                "response", "app", "web", server,
            )  # fmt: skip
            assert found["part"] == part and found["bytes"][found["position"] :].startswith(fault)
            assert found["offset"] == (None if part == "body" else 0)
            assert found["status"] == 502 and found["client"] == "127.0.0.1"

    run(main())


def test_captures_live_through_a_reload() -> None:
    async def main() -> None:
        mapping = one_backend()
        async with running(mapping) as engine:
            await engine.send(b"GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n")
            (before,) = engine.engine.errors()
            port = engine.address()[1]
            mapping["frontends"]["web"]["listen"] = [f"127.0.0.1:{port}"]
            mapping["frontends"]["web"]["routes"] = [{"path": "/a", "backend": "app"}]
            await engine.apply(mapping)
            assert engine.engine.errors() == [before]
            await asyncio.sleep(0.15)
            engine.engine.tick()
            await engine.send(b"GET / HTTP/1.1\r\nHost: a\r\nZ Y: 1\r\n\r\n")
            (after,) = engine.engine.errors()
            assert after["count"] == 2 and b"Z Y" in after["bytes"]
            mapping["frontends"] = {"other": mapping["frontends"]["web"]}
            await engine.apply(mapping)
            assert engine.engine.errors() == []

    run(main())
