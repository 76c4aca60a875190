"""The admin interface as a part of the supervisor's process: listeners, uvicorn on the loop that runs, the sampler."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fastlb.admin.access import Guard, loopback_hosts, read_token
from fastlb.admin.app import build
from fastlb.admin.board import Board
from fastlb.admin.context import Context
from fastlb.admin.sampler import Sampler
from fastlb.control.bind import UNIX_MODE
from fastlb.control.sockets import Inherited, Listeners
from fastlb.runtime.extras import Running
from fastlb.runtime.info import shown
from fastlb.spec import Address, Admin, Spec

log = logging.getLogger("fastlb.admin")

SOCKET_MODE = 0o600
CONNECTIONS = 512  # of a listener; more get 503
HEAD_TIME = 10.0  # seconds for a request's head and body
WAIT = 0.5  # seconds between two looks at whether it is to close before it has answered anything
KEEP_ALIVE = 30  # seconds; more than most scrape intervals would hold connections for nothing


class Connection(H11Protocol):
    """uvicorn's, with an end to connections that never complete a request.

    h11 and not httptools, because it bounds the size of a head, which httptools leaves to its user.
    """

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._patience = self.loop.call_later(HEAD_TIME, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._patience is None and self._between_requests():
            self._patience = self.loop.call_later(HEAD_TIME, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _give_up(self) -> None:
        self._patience = None
        if self._between_requests() and not self.timeout_keep_alive_task and not self.transport.is_closing():
            self.transport.close()

    def _forget(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals are the supervisor's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Endpoint:
    """One address that is served, or about to be."""

    def __init__(self, address: Address, listeners: Listeners, sockets: list[socket.socket], guard: Guard) -> None:
        self.address = address
        self.listeners = listeners
        self.sockets = sockets
        self.guard = guard
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, may_answer: asyncio.Event) -> None:
        """Serves from now on, or from when it may; who asks before waits."""
        config = uvicorn.Config(
            self.guard,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._task = asyncio.get_running_loop().create_task(self._serve(self._server, may_answer), name="admin")

    async def _serve(self, server: _Server, may_answer: asyncio.Event) -> None:
        while not server.should_exit:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT):
                    await may_answer.wait()
                await server.serve(self.sockets)
                return

    async def close(self) -> None:
        """Answers what is being answered, for a second at most."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            try:
                await self._task
            except Exception as error:
                log.error("admin: %s: %s", type(error).__name__, error)
        self.listeners.close()


class _Plan:
    """What another configuration makes of the admin interface."""

    def __init__(self, server: AdminServer, spec: Spec, token: str) -> None:
        self.server = server
        self.admin = spec.admin
        self.source = spec.source
        self.token = "" if spec.admin.read_only else token
        self.opened: dict[str, _Endpoint] = {}

    def commit(self) -> None:
        self.server.adopt(self)

    def abort(self) -> None:
        for endpoint in self.opened.values():
            endpoint.listeners.close()


class AdminServer:
    """The `Extra` of the supervisor that serves `spec.admin`, and follows it over reloads."""

    def __init__(self, running: Running) -> None:
        self._running = running
        service = running.service
        self._sampler = Sampler(service.region, lambda: service.assignment)
        assert running.actions is not None, "the supervisor offers actions"
        self._app = build(Context(running, Board(running, self._sampler), running.actions))
        self._endpoints: dict[str, _Endpoint] = {}  # by the key that names the address
        self._sampling = False
        self._ending: set[asyncio.Task[None]] = set()
        quiet_uvicorn()

    async def open(self) -> None:
        """Binds and serves. Raises ConfigError for a token that cannot be read, ListenError for an address."""
        (await self.plan(self._running.service.spec)).commit()

    async def plan(self, spec: Spec) -> _Plan:
        """Binds the addresses that are new and reads the token; raises as `open` does, with nothing changed."""
        plan = _Plan(self, spec, read_token(spec.admin, spec.source))
        try:
            for key, address in _addresses(spec.admin).items():
                there = self._endpoints.get(key)
                if there is None or there.address != address:
                    plan.opened[key] = self._bind(key, address, plan)
        except BaseException:
            plan.abort()
            raise
        return plan

    def _bind(self, key: str, address: Address, plan: _Plan) -> _Endpoint:
        """Takes what another process has bound there, or binds."""
        private = key == "admin.socket"
        listeners = Listeners(1, reuse_port=False, unix_mode=SOCKET_MODE if private else UNIX_MODE)
        listeners.inherit(self._running.inherited)
        try:
            sockets = listeners.open_one(key, address, plan.source)
        finally:
            self._running.inherited = listeners.take_unclaimed()
        return _Endpoint(address, listeners, sockets, Guard(self._app, trusted=private))

    def adopt(self, plan: _Plan) -> None:
        """Serves what the plan has and nothing else. An answer that is on its way, to a reload say, still arrives."""
        wanted = _addresses(plan.admin)
        before = self._endpoints
        self._endpoints = {key: plan.opened.get(key) or before[key] for key in wanted}
        for endpoint in before.values():
            if endpoint not in self._endpoints.values():
                task = asyncio.get_running_loop().create_task(endpoint.close())
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
        for key, endpoint in self._endpoints.items():
            if key == "admin.listen":
                endpoint.guard.allow(plan.token, loopback_hosts(plan.admin))
        for endpoint in plan.opened.values():
            endpoint.start(self._running.may_answer)
        if wanted and not self._sampling:
            self._sampler.start(self._running.service.book.sweep)
        elif not wanted:
            self._sampler.stop()
        self._sampling = bool(wanted)

    async def close(self) -> None:
        """Ends streams, answers what is being answered, for a second at most."""
        self._sampler.stop()
        self._running.service.events.close()
        endpoints, self._endpoints = self._endpoints, {}
        await asyncio.gather(*(endpoint.close() for endpoint in endpoints.values()), *self._ending)

    def places(self) -> list[str]:
        return [
            f"admin on {', '.join(_place(sock) for sock in endpoint.sockets)}" for endpoint in self._endpoints.values()
        ]

    def files(self) -> list[str]:
        return [file for endpoint in self._endpoints.values() for file in endpoint.listeners.files()]

    def inheritance(self) -> list[Inherited]:
        return [one for endpoint in self._endpoints.values() for one in endpoint.listeners.inheritance()]

    def forget_files(self) -> None:
        for endpoint in self._endpoints.values():
            endpoint.listeners.forget_files()


def _addresses(admin: Admin) -> dict[str, Address]:
    """The addresses of the admin interface by the keys that name them."""
    found = {} if admin.listen is None else {"admin.listen": admin.listen}
    return {**found, "admin.socket": Address(path=admin.socket)} if admin.socket else found


def _place(sock: socket.socket) -> str:
    name: Any = sock.getsockname()
    return shown(name if isinstance(name, str) else (name[0], name[1]))


def quiet_uvicorn() -> None:
    """Sends uvicorn's errors where fastlb's go; that a stranger sent nonsense is none."""
    logger = logging.getLogger("uvicorn")
    logger.handlers = list(logging.getLogger("fastlb").handlers)
    logger.propagate = not logger.handlers
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
