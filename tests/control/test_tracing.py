"""Traces through the engine: what servers are told, what the log says."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.control.engines import Running, one_backend, running

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
VALID = f"00-{TRACE}-00f067aa0ba902b7-01"


@asynccontextmanager
async def recorder() -> AsyncIterator[tuple[str, list[str]]]:
    """A server that keeps the heads it gets: (address, heads)."""
    heads: list[str] = []
    gone = asyncio.Event()  # the last connection of the engine

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.transport.abort()
            gone.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}", heads
        await asyncio.wait_for(gone.wait(), 5)
        await asyncio.sleep(0)


def request(*fields: str) -> bytes:
    return "\r\n".join(["GET / HTTP/1.1", "Host: a", "Connection: close", *fields, "", ""]).encode()


def traceparent(head: str) -> str:
    (value,) = re.findall(r"(?mi)^traceparent: (.*)\r$", head)
    return str(value)


def with_log(mapping: dict[str, Any], folder: Path, **tracing: Any) -> Path:
    file = folder / "access.log"
    mapping["log"] = {"access": str(file), "format": "json", "level": "error"}
    mapping["tracing"] = tracing
    return file


def lines(engine: Running, file: Path) -> list[dict[str, Any]]:
    engine.engine.close()  # delivers the log
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_passed_on_or_begun_and_logged(tmp_path: Path) -> None:
    async def main() -> None:
        async with recorder() as (address, heads):
            mapping = one_backend(address, forwarded={"traceparent": True}, routes=[{"path": "/r", "redirect": "/x"}])
            file = with_log(mapping, tmp_path)
            async with running(mapping) as engine:
                await engine.send(request(f"traceparent: {VALID}"))
                await engine.send(request("traceparent: nonsense"))
                await engine.send(request().replace(b"GET /", b"GET /r"))
                await engine.send(b"nonsense\r\n\r\n")
                logged = lines(engine, file)
            assert traceparent(heads[0]) == VALID and logged[0]["trace_id"] == TRACE
            begun = traceparent(heads[1])
            assert begun.endswith("-01") and logged[1]["trace_id"] == begun.split("-")[1] == logged[1]["request_id"]
            assert logged[2]["trace_id"] == logged[2]["request_id"]  # answered here
            assert "trace_id" not in logged[3]

    asyncio.run(main())


def test_a_retry_tells_the_same(tmp_path: Path) -> None:
    """The second server gets the traceparent that the first would have got, and it is the one in the log."""

    async def main() -> None:
        async with recorder() as (address, heads):
            mapping = one_backend("127.0.0.1:1", address, forwarded={"traceparent": True})
            mapping["backends"]["app"]["balance"] = "first"
            file = with_log(mapping, tmp_path)
            async with running(mapping) as engine:
                await engine.send(request())
                (line,) = lines(engine, file)
            assert line["retries"] == 1 and traceparent(heads[0]).split("-")[1] == line["trace_id"]

    asyncio.run(main())


def test_off_is_off(tmp_path: Path) -> None:
    async def main() -> None:
        async with recorder() as (address, heads):
            mapping = one_backend(address)
            file = with_log(mapping, tmp_path)
            async with running(mapping) as engine:
                await engine.send(request())
                await engine.send(request("traceparent: nonsense"))
                logged = lines(engine, file)
            assert "traceparent" not in heads[0] and traceparent(heads[1]) == "nonsense"
            assert all("trace_id" not in line for line in logged)

    asyncio.run(main())


def test_share_of_the_traces_that_begin_here() -> None:
    async def share_of(sample: float, count: int = 400) -> float:
        async with recorder() as (address, heads):
            mapping = one_backend(address, forwarded={"traceparent": True})
            mapping["tracing"] = {"sample": sample}
            async with running(mapping) as engine:
                reader, writer = await asyncio.open_connection(*engine.address())
                for _ in range(count):
                    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    await reader.readuntil(b"\r\n\r\n")
                writer.close()
                # the mark of a trace of somebody else is his
                await engine.send(request(f"traceparent: {VALID}"))
                await engine.send(request(f"traceparent: {VALID[:-1]}0"))
            assert [traceparent(head)[-2:] for head in heads[-2:]] == ["01", "00"]
            return sum(traceparent(head).endswith("-01") for head in heads[:count]) / count

    async def main() -> None:
        assert await share_of(1.0) == 1.0
        assert await share_of(0.0) == 0.0
        assert 0.15 < await share_of(0.25) < 0.35

    asyncio.run(main())
