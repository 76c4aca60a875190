"""The application without processes: a service that is open but has no engine, asked by ASGI calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastlb.admin.access import Guard
from fastlb.admin.app import build
from fastlb.admin.board import Board
from fastlb.admin.context import Context
from fastlb.admin.sampler import Sampler
from fastlb.control.slots import Assignment
from fastlb.runtime.actions import Actions
from fastlb.runtime.asking import LogTail
from fastlb.runtime.extras import Phase, Running, WorkerInfo
from fastlb.runtime.operator import Operator
from fastlb.runtime.service import Service
from fastlb.spec import Address, Backend, Frontend, Listen, Server, Spec


def make_spec(*backends: Backend, frontends: int = 1) -> Spec:
    return Spec(
        frontends=tuple(
            Frontend(f"f{n}", (Listen(Address("127.0.0.1", 0)),), backend=backends[0].name) for n in range(frontends)
        ),
        backends=backends,
    )


def make_backend(name: str, servers: int, **more: Any) -> Backend:
    """Servers s0, s1, … at literal addresses that nobody connects to."""
    return Backend(
        name,
        tuple(Server(f"s{n}", Address(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 80)) for n in range(servers)),
        **more,
    )


class Worker:
    """A worker that answers what the test says."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []

    def ask(self, what: str, told: Callable[[Any], None]) -> None:
        self.asked.append(what)
        told(self.answers.get(what))


class Team:
    """Workers that the test describes. As a crew it takes every configuration and does nothing about it."""

    def __init__(self, workers: int = 1) -> None:
        self.state = "ready"
        self.workers = [Worker(slot) for slot in range(workers)]
        self.tail = LogTail(self.workers)

    def members(self) -> Sequence[WorkerInfo]:
        return [WorkerInfo(worker.slot, 1, self.state, 1, 1.0) for worker in self.workers]

    async def ask(self, what: str) -> dict[int, Any]:
        answers: dict[int, Any] = {}
        for worker in self.workers:
            worker.ask(what, partial(answers.__setitem__, worker.slot))
        return answers

    async def apply(self, spec: Spec, assignment: Assignment) -> list[str]:
        return []

    async def unlisten(self, numbers: Sequence[int], within: float) -> None:
        pass

    async def grow(self, count: int) -> list[str]:
        return []

    def shrink(self, count: int, within: float) -> None:
        pass


@dataclass
class Inside:
    """An open service and the application over it. Counters are written by the test: `service.region.count(...)`."""

    service: Service
    running: Running
    sampler: Sampler
    board: Board
    context: Context
    team: Team

    async def ask(
        self,
        target: str,
        method: str = "GET",
        data: Any = None,
        headers: dict[str, str] | None = None,
        **guard: Any,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, fields and body of one answer."""
        body = b"" if data is None else data if isinstance(data, bytes) else json.dumps(data).encode()
        fields = {"host": "localhost", "content-length": str(len(body)), **(headers or {})}
        if data is not None:
            fields.setdefault("content-type", "application/json")
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in fields.items()],
            "client": None,
            "server": None,
            "state": {},
        }
        sent: list[Any] = []
        incoming: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return incoming.pop(0) if incoming else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await Guard(build(self.context), **{"trusted": True, **guard})(scope, receive, send)
        got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], got, b"".join(m.get("body", b"") for m in sent[1:])

    async def json(self, target: str) -> Any:
        status, _, body = await self.ask(target)
        assert status == 200, body
        return json.loads(body)

    async def text(self, target: str, **headers: str) -> str:
        status, _, body = await self.ask(target, headers={name.replace("_", "-"): v for name, v in headers.items()})
        assert status == 200, body
        return body.decode()

    def frontend(self, name: str = "f0") -> int:
        return self.service.assignment.frontends[name]

    def server(self, backend: str, name: str) -> int:
        group = self.board.find(backend, name)
        assert group is not None
        return self.service.assignment.server(backend, group[1].address)


@contextlib.asynccontextmanager
async def inside(
    spec: Spec, actions: Actions | None = None, *, workers: int = 1, **clocks: Any
) -> AsyncIterator[Inside]:
    """The application over `spec`. No sample is taken until the test calls `sampler.sample()`."""
    service = Service(spec, workers=0, own_process=False)
    await service.open()
    team = Team(workers)
    operator = Operator(service, team, spec)
    try:
        service.region.begin_worker(0)
        running = Running(service, team, 1, actions or operator, phase=Phase.READY)
        sampler = Sampler(service.region, lambda: service.assignment, **clocks)
        board = Board(running, sampler)
        context = Context(running, board, running.actions)
        yield Inside(service, running, sampler, board, context, team)
    finally:
        await operator.close()
        service.events.close()
        await service.close()
