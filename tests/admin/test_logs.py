"""/v1/errors and /v1/logs: what the workers hold, put together, and who may see it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastlb.admin import shapes_logs as shapes
from fastlb.admin.routes_logs import escaped, last, shown
from tests.admin.conftest import TOKEN, Fastlb, Origins, Start
from tests.admin.inside import inside, make_backend, make_spec
from tests.admin.test_api import fits
from tests.helpers import free_port, wait_until

SPEC = make_spec(make_backend("app", 2))
BEARER = {"authorization": f"Bearer {TOKEN}"}


def line(time: str, text: str) -> bytes:
    return f'{{"time":"2026-02-06T11:14:{time}Z","x":"{text}"}}\n'.encode()


def report(kind: str = "request", proxy: str = "f0", at: float = 100.0, **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "proxy": proxy,
        "at": at,
        "reason": "field name",
        "status": 400,
        "frontend": "f0",
        "server": None,
        "client": "192.0.2.1",
        "client_port": 1234,
        "part": "head",
        "position": 3,
        "offset": 0,
        "length": 6,
        "bytes": b"a\x1bb\r\n\xff",
        "count": 1,
        **more,
    }


def test_errors_of_all_workers_the_newest_of_each() -> None:
    async def main() -> None:
        async with inside(SPEC, workers=3) as lb:
            assert await lb.json("/v1/errors") == {"errors": []}
            one, two, _ = lb.team.workers
            one.answers["errors"] = [report(at=100.0), report("response", "app", 50.0, server="s1")]
            two.answers["errors"] = [report(at=200.0, count=7)]
            found = await lb.json("/v1/errors")
            fits(shapes.ErrorList, found)
            assert [(e["kind"], e["proxy"], e["worker"], e["count"]) for e in found["errors"]] == [
                ("request", "f0", 1, 7),
                ("response", "app", 0, 1),
            ]
            newest = found["errors"][0]
            assert newest["at"].startswith("1970-01-01T00:03:20")
            assert base64.b64decode(newest["bytes"]) == b"a\x1bb\r\n\xff"
            assert newest["text"] == r"a\x1bb\r\n\xff"

    asyncio.run(main())


def test_every_byte_is_shown_safely() -> None:
    text = escaped(bytes(range(256)))
    assert text.isascii() and text.isprintable()
    assert text.encode().decode("unicode_escape").encode("latin-1") == bytes(range(256))


def test_lines_of_all_workers_in_the_order_of_their_times() -> None:
    async def main() -> None:
        async with inside(SPEC, workers=2) as lb:
            one, two = lb.team.workers
            one.answers["recent"] = line("01.000", "a") + line("03.000", "c")
            two.answers["recent"] = line("02.000", "b") + line("04.000", "d")
            found = await lb.json("/v1/logs")
            fits(shapes.LogView, found)
            assert [json.loads(text)["x"] for text in found["lines"]] == list("abcd")
            found = await lb.json("/v1/logs?lines=2")
            assert [json.loads(text)["x"] for text in found["lines"]] == list("cd")
            assert await lb.json("/v1/logs?lines=0") == {"lines": []}
            assert {status for status, _, _ in [await lb.ask(f"/v1/logs?lines={n}") for n in ("-1", "1001")]} == {422}

    asyncio.run(main())


@pytest.mark.parametrize(
    "template",
    [
        b"127.0.0.1:9 [%d/%s/%d:11:00:0%d.250] web app/s1 0/0/0/1/1 200\n",
        b"Feb  6 12:14:14 host fastlb[14389]: [::1]:9 [%d/%s/%d:11:00:0%d.250] web app/s1\n",
        b'127.0.0.1 - - [%d/%s/%d:11:00:0%d +0000] "GET / HTTP/1.1" 200 5\n',
    ],
)
def test_the_order_in_other_formats(template: bytes) -> None:
    times = [(31, b"Dec", 2025, 9), (10, b"Jan", 2026, 1), (28, b"Feb", 2026, 1), (28, b"Feb", 2026, 2)]
    lines = [template % (day, month, year, second) for day, month, year, second in times]
    odd = b"who knows\n"
    assert last({0: lines[1] + odd + lines[3], 1: lines[0] + lines[2]}, 9) == [
        text.rstrip(b"\n") for text in (lines[0], lines[1], odd, lines[2], lines[3])
    ]


def test_a_line_that_is_no_text_is_shown_all_the_same() -> None:
    assert shown(b"a\xffb") == r"a\xffb" and shown("ä".encode()) == "ä"


def test_a_log_that_is_off() -> None:
    async def main() -> None:
        async with inside(SPEC) as lb:
            for headers in ({}, {"accept": "text/event-stream"}):
                status, _, body = await lb.ask("/v1/logs", headers=headers)
                assert status == 409 and b"log.access" in body

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/v1/errors", "/v1/logs", "/v1/logs?lines=3"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_may_see_what_clients_sent(path: str, method: str) -> None:
    async def main() -> None:
        async with inside(SPEC) as lb:
            lb.team.workers[0].answers = {"recent": b"", "errors": []}

            async def status(headers: dict[str, str] | None = None, **guard: Any) -> int:
                return (await lb.ask(path, method, headers=headers, **guard))[0]

            assert await status(trusted=True) == 200
            assert await status(trusted=False) == 403
            assert await status(trusted=False, token=TOKEN) == 401
            assert await status({"authorization": "Bearer wrong"}, trusted=False, token=TOKEN) == 401
            assert await status(BEARER, trusted=False, token=TOKEN) == 200
            # a listener that takes no changes has no token either
            assert await status(BEARER, trusted=False) == 403
            assert lb.team.workers[0].asked == [lb.team.workers[0].asked[0]] * 2  # nobody else got so far

    asyncio.run(main())


@contextlib.contextmanager
def following(lb: Fastlb, lines: int | None = None) -> Iterator[http.client.HTTPResponse]:
    """The stream, once it has begun."""
    connection = lb.unix.connect()
    try:
        query = "" if lines is None else f"?lines={lines}"
        connection.request("GET", f"/v1/logs{query}", headers={"Accept": "text/event-stream"})
        response = connection.getresponse()
        assert (response.status, response.getheader("content-type")) == (200, "text/event-stream; charset=utf-8")
        yield response
    finally:
        connection.close()


def targets(response: http.client.HTTPResponse, number: int) -> list[str]:
    """Of the next lines."""
    found: list[str] = []
    while len(found) < number:
        text = response.readline()
        assert text, found
        if text.startswith(b"data: "):
            found.append(json.loads(text[6:])["target"])
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_of_a_running_program(fastlb: Start, origins: Origins, tmp_path: Path, workers: int) -> None:
    path = tmp_path / "access.log"
    lb = fastlb(*origins.servers, workers=workers, log={"access": str(path), "format": "json"})
    for number in range(20):
        assert lb.request(f"/x{number}") == 200
    wait_until(lambda: len(lb.unix.get("/v1/logs")["lines"]) == 20, what="20 lines")
    asked = [json.loads(text)["target"] for text in lb.unix.get("/v1/logs")["lines"]]
    assert sorted(asked) == sorted(f"/x{number}" for number in range(20))
    assert [json.loads(text)["target"] for text in lb.unix.get("/v1/logs?lines=3")["lines"]] == asked[-3:]

    with following(lb, 5) as stream, following(lb) as second:
        assert targets(stream, 5) == asked[-5:]
        for number in range(10):
            lb.request(f"/a{number}")
        assert sorted(targets(stream, 10)) == [f"/a{number}" for number in range(10)]
        assert sorted(targets(second, 10)) == [f"/a{number}" for number in range(10)]
        if workers:  # those of a successor come as well
            for pid in lb.workers():
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: [w["state"] for w in lb.unix.get("/v1/workers")["workers"]] == ["ready"] * 2)
            for number in range(8):
                lb.request(f"/b{number}")
            assert sorted(targets(stream, 8)) == [f"/b{number}" for number in range(8)]

    # a malformed message of each kind
    with socket.create_connection(("127.0.0.1", lb.ports["web"])) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: \x1b[31m\r\n\r\n")
        assert b" 400 " in sock.recv(4096)
    found = lb.unix.get("/v1/errors")["errors"]
    assert [(e["kind"], e["proxy"], e["status"], e["client"]) for e in found] == [("request", "web", 400, "127.0.0.1")]
    assert base64.b64decode(found[0]["bytes"])[found[0]["position"] :].startswith(b" Name")
    assert r"\x1b[31m" in found[0]["text"]
    # over TCP with the token alone
    assert [who.ask("/v1/errors").status for who in (lb.api, lb.admin)] == [401, 200]


def test_the_end_of_the_program_ends_the_stream(fastlb: Start, tmp_path: Path) -> None:
    lb = fastlb(f"127.0.0.1:{free_port()}", workers=0, log={"access": str(tmp_path / "access.log")})
    with following(lb) as stream:
        lb.program.send(signal.SIGTERM)
        assert b"data:" not in stream.read()
    assert lb.program.wait() == 0
