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
from fastlb.control.sockets import Listeners
from fastlb.runtime.extras import Running
from fastlb.runtime.info import shown
from fastlb.spec import Address

log = logging.getLogger("fastlb.admin")

SOCKET_MODE = 0o600
CONNECTIONS = 512  # of a listener; more get 503
HEAD_TIME = 10.0  # seconds for a request's head and body
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

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class AdminServer:
    """The `Extra` of the supervisor that serves `spec.admin`."""

    def __init__(self, running: Running) -> None:
        self._running = running
        service = running.service
        self._sampler = Sampler(service.region, lambda: service.assignment)
        self._open_to_all = Listeners(1, reuse_port=False)
        self._private = Listeners(1, reuse_port=False, unix_mode=SOCKET_MODE)
        self._servers: list[tuple[_Server, asyncio.Task[None]]] = []
        self._places: list[str] = []

    async def open(self) -> None:
        """Binds and serves. Raises ConfigError for a token that cannot be read, ListenError for an address."""
        spec = self._running.service.spec
        admin = spec.admin
        token = read_token(admin, spec.source)
        board = Board(self._running, self._sampler)
        context = Context(self._running, board, self._running.actions)
        app = build(context)
        quiet_uvicorn()
        try:
            if admin.listen is not None:
                guard = Guard(app, token="" if admin.read_only else token, hosts=loopback_hosts(admin))
                sockets = self._bind(self._open_to_all, "admin.listen", admin.listen)
                await self._serve(guard, sockets)
                self._places.append(f"admin on {', '.join(_place(sock) for sock in sockets)}")
            if admin.socket:
                sockets = self._bind(self._private, "admin.socket", Address(path=admin.socket))
                await self._serve(Guard(app, trusted=True), sockets)
                self._places.append(f"admin on unix:{admin.socket}")
        except BaseException:
            await self.close()
            raise
        self._sampler.start(self._running.service.book.sweep)

    def _bind(self, listeners: Listeners, key: str, address: Address) -> list[socket.socket]:
        """Takes what another process has bound there, or binds."""
        running = self._running
        listeners.inherit(running.inherited)
        try:
            return listeners.open_one(key, address, running.service.spec.source)
        finally:
            running.inherited = listeners.take_unclaimed()

    async def _serve(self, guard: Guard, sockets: list[socket.socket]) -> None:
        config = uvicorn.Config(
            guard,
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
        server = _Server(config)
        task = asyncio.get_running_loop().create_task(server.serve(sockets), name="admin")
        self._servers.append((server, task))
        up = asyncio.ensure_future(server.up.wait())
        await asyncio.wait({task, up}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if task.done():
            await task

    async def close(self) -> None:
        """Ends streams, answers what is being answered, for a second at most."""
        self._sampler.stop()
        self._running.service.events.close()
        for server, _ in self._servers:
            server.should_exit = True
        results = await asyncio.gather(*(task for _, task in self._servers), return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                log.error("admin: %s: %s", type(result).__name__, result)
        self._servers.clear()
        self._open_to_all.close()
        self._private.close()

    def places(self) -> list[str]:
        return self._places

    def files(self) -> list[str]:
        return self._private.files()


def _place(sock: socket.socket) -> str:
    name: Any = sock.getsockname()
    return shown(name if isinstance(name, str) else (name[0], name[1]))


def quiet_uvicorn() -> None:
    """Sends uvicorn's errors where fastlb's go; that a stranger sent nonsense is none."""
    logger = logging.getLogger("uvicorn")
    logger.handlers = list(logging.getLogger("fastlb").handlers)
    logger.propagate = not logger.handlers
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
