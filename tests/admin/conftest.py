"""A running fastlb with its admin interface, a client for it, and origins that answer what the path says."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.toml import dump
from tests.helpers import ROOT, SLOWNESS, Program, free_port, wait_until

TOKEN = "a-token-of-the-tests"


@dataclass
class Answer:
    """One response of the API."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        assert "json" in self.fields["content-type"], self.fields
        return json.loads(self.body)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20 * SLOWNESS)
        self.sock.connect(self._path)


@dataclass
class Api:
    """Asks one listener of the admin interface; `place` is (host, port) or a path."""

    place: tuple[str, int] | str
    headers: dict[str, str] = field(default_factory=dict)

    def connect(self) -> http.client.HTTPConnection:
        if isinstance(self.place, str):
            return _UnixConnection(self.place)
        return http.client.HTTPConnection(*self.place, timeout=20 * SLOWNESS)

    def ask(
        self, target: str, method: str = "GET", data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = self.connect()
        try:
            wanted = {**self.headers, **(headers or {})}
            body = data if isinstance(data, bytes) or data is None else json.dumps(data).encode()
            if body is not None:
                wanted.setdefault("Content-Type", "application/json")
            connection.request(method, target, body, wanted)
            response = connection.getresponse()
            got = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, got, response.read())
        finally:
            connection.close()

    def get(self, target: str) -> Any:
        """The JSON of a 200."""
        answer = self.ask(target)
        assert answer.status == 200, answer
        return answer.json

    def text(self, target: str, **headers: str) -> str:
        answer = self.ask(target, headers=headers)
        assert answer.status == 200, answer
        return answer.text

    def patch(self, server: str, /, **change: Any) -> Answer:
        backend, _, name = server.partition("/")
        return self.ask(f"/v1/backends/{backend}/servers/{name}", "PATCH", change)

    @property
    def url(self) -> str:
        assert not isinstance(self.place, str)
        return f"http://{self.place[0]}:{self.place[1]}"


@dataclass
class Fastlb:
    """A running fastlb."""

    program: Program
    api: Api  # the TCP listener, without a token
    admin: Api  # the same with the token
    unix: Api
    ports: dict[str, int]

    def request(self, target: str = "/", frontend: str = "web", method: str = "GET") -> int:
        """One request through the balancer on a connection of its own; its status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[frontend], timeout=20 * SLOWNESS)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def workers(self) -> list[int]:
        return [w["pid"] for w in self.unix.get("/v1/workers")["workers"]]

    def counter(self, frontend: str = "web") -> dict[str, int]:
        return dict(self.unix.get(f"/v1/frontends/{frontend}")["responses"])

    def settled(self, total: int, frontend: str = "web") -> dict[str, int]:
        """Responses by class once so many requests have been counted; an answer is sent before it is counted."""
        wait_until(lambda: sum(self.counter(frontend).values()) >= total, what=f"{total} counted requests")
        return self.counter(frontend)


Start = Callable[..., Fastlb]


def launcher(start: Callable[..., Program], folder: Path) -> Start:
    """`begin(servers, **sections)`: one frontend `web` before one backend `app`, and what else is asked for."""

    def begin(
        *servers: Any,
        admin: Mapping[str, Any] | None = None,
        frontend: Mapping[str, Any] | None = None,
        backend: Mapping[str, Any] | None = None,
        frontends: Mapping[str, Any] | None = None,
        backends: Mapping[str, Any] | None = None,
        workers: int = 2,
        env: Mapping[str, str] | None = None,
        wait: str = "fastlb ready",
        **sections: Any,
    ) -> Fastlb:
        port, path = free_port(), str(folder / "admin.sock")
        settings = {"listen": f"127.0.0.1:{port}", "socket": path, "token": TOKEN, **(admin or {})}
        mapping: dict[str, Any] = {
            "global": {"workers": workers},
            "log": {"access": "off"},
            "admin": {key: value for key, value in settings.items() if value is not None},
            "frontends": {"web": {"backend": "app", **(frontend or {})}, **(frontends or {})},
            "backends": {"app": {"servers": list(servers), **(backend or {})}, **(backends or {})},
            **sections,
        }
        for one in mapping["frontends"].values():
            one.setdefault("listen", f"127.0.0.1:{free_port()}")
        file = folder / "fastlb.toml"
        file.write_text(dump(mapping))
        program = start([sys.executable, "-m", "fastlb", "serve", "-c", file], cwd=ROOT, env=env)
        program.wait_line(wait, timeout=30)
        place = ("127.0.0.1", port)
        ports = {name: int(one["listen"].rsplit(":", 1)[1]) for name, one in mapping["frontends"].items()}
        return Fastlb(program, Api(place), Api(place, {"Authorization": f"Bearer {TOKEN}"}), Api(path), ports)

    return begin


@pytest.fixture
def fastlb(start: Callable[..., Program], tmp_path: Path) -> Start:
    """Starts programs, see `launcher`."""
    return launcher(start, tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fastlb]:
    """One for all tests of a module that change nothing; its servers are not there."""
    running: list[Program] = []

    def start(*arguments: Any, **options: Any) -> Program:
        running.append(Program(*arguments, **options))
        return running[-1]

    try:
        servers = [{"name": f"s{n}", "address": f"127.0.0.1:{free_port()}"} for n in (1, 2)]
        yield launcher(start, tmp_path_factory.mktemp("shared"))(*servers, workers=0)
    finally:
        for program in running:
            program.stop()


class _Answering(asyncio.Protocol):
    """Answers every request: /status/NNN with that status, /slow/MS after so long, everything else with 200."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._origins.open.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._origins.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, self._data = self._data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
            self._data = self._data[int(length[1]) if length else 0 :]
            self._answer(head.split(b" ", 2)[1].decode())

    def _answer(self, target: str) -> None:
        kind, _, value = target.strip("/").partition("/")
        status = int(value) if kind == "status" else 200
        if target == "/health":
            status = self._origins.health
        body = b"x" * 100
        response = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
        if kind == "slow":
            asyncio.get_running_loop().call_later(int(value) / 1000, self._transport.write, response)
        elif kind == "hold":
            self._origins.held.append(lambda: self._transport.write(response))
        else:
            self._transport.write(response)


class Origins:
    """Origin servers in a thread."""

    def __init__(self, count: int) -> None:
        self.health = 200  # what /health answers
        self.open: set[asyncio.Transport] = set()
        self._servers: list[asyncio.Server] = []
        self.held: list[Callable[[], None]] = []  # answers to /hold
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.ports = [self._run(self._listen()) for _ in range(count)]

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20 * SLOWNESS)

    async def _listen(self) -> int:
        server = await self._loop.create_server(lambda: _Answering(self), "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    @property
    def servers(self) -> list[dict[str, Any]]:
        return [{"name": f"s{n}", "address": f"127.0.0.1:{port}"} for n, port in enumerate(self.ports, 1)]

    def release(self) -> None:
        """Answers what /hold holds."""
        for answer in self.held:
            self._loop.call_soon_threadsafe(answer)
        self.held.clear()

    def close(self) -> None:
        async def end() -> None:
            # What was accepted just now gets its transport in a task of asyncio's. One that begins when its server is
            # closed fails half way, without a word, and leaves that transport to the collector.
            while accepted := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.gather(*accepted, return_exceptions=True)
            for server in self._servers:
                server.close()
            for transport in list(self.open):
                transport.abort()
            while self.open:
                await asyncio.sleep(0)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def origins() -> Iterator[Origins]:
    """Two origins."""
    found = Origins(2)
    yield found
    found.close()
