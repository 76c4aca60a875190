"""Runs one engine on the current loop: start, heartbeat, drain, end. The same for a worker process and for none."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastlb.control.region import DRAINING, READY, Region
from fastlb.control.slots import Assignment
from fastlb.control.sockets import Given
from fastlb.runtime.engine_api import EngineFactory
from fastlb.runtime.messages import EndSessions, Secrets
from fastlb.spec import Challenges, Spec

log = logging.getLogger("fastlb.runtime")

TICK = 0.1  # seconds between two heartbeats
CONNECTIONS = 1000  # that are told of


class EngineHost:
    """The engine of worker slot `worker`. Must be made on the running loop."""

    def __init__(self, region: Region, worker: int, factory: EngineFactory, *, max_connections: int) -> None:
        self._region = region
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._running: tuple[Spec, Assignment, Mapping[int, int] | None] | None = None
        self.engine = factory(region, worker, self._loop, max_connections=max_connections)
        self._ended = asyncio.Event()
        self._draining = False
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._on_lines: Callable[[bytes, int], None] | None = None
        self.takes_spans: Callable[[], bool] = lambda: False  # false: not now, and they wait in the engine
        self.on_spans: Callable[[bytes, int, int], None] = lambda records, count, lost: None

    @property
    def state(self) -> str:
        """ready, draining or gone."""
        return "gone" if self._ended.is_set() else "draining" if self._draining else "ready"

    def start(
        self,
        spec: Spec,
        assignment: Assignment,
        listeners: Iterable[Given],
        tickets: Sequence[bytes] = (),
        challenges: Challenges | None = None,
    ) -> None:
        """Applies the configuration, then accepts. Raises what the engine raises; close() then cleans up."""
        if tickets:
            self.engine.tickets(tickets)
        self.apply(spec, assignment, listeners)
        if challenges:
            self.engine.challenge(challenges)
        self._region.set_worker(self._worker, pid=os.getpid(), state=READY)
        self._tick()

    def apply(
        self,
        spec: Spec,
        assignment: Assignment,
        listeners: Iterable[Given] = (),
        indices: Mapping[int, int] | None = None,
    ) -> None:
        """Swaps in another configuration and accepts on further sockets; on an exception all is as before.

        `indices`: where sockets that are listened on stand in the `listen` of their frontends now, by number.
        """
        self.engine.apply(spec, assignment, indices)
        opened: list[int] = []
        try:
            for number, frontend, index, sock in listeners:
                self.engine.listen(number, frontend, index, sock)
                opened.append(number)
        except BaseException:
            for number in opened:
                self.engine.unlisten(number, 0.0)
            if self._running is not None:
                self.engine.apply(*self._running)
            raise
        self._running = (spec, assignment, indices)
        self._region.set_worker(self._worker, generation=assignment.generation)

    def secrets(self, message: Secrets) -> None:
        """Takes new certificates, ticket keys and challenges; what cannot be used stays as it was."""
        if message.tickets:
            self.engine.tickets(message.tickets)
        for frontend, index, tls in message.listeners:
            try:
                self.engine.certificates(frontend, index, tls)
            except Exception:
                log.exception("the certificates of %s were not replaced", frontend)
        if message.challenges is not None:
            try:
                self.engine.challenge(message.challenges)
            except Exception:
                log.exception("an ACME server will not find what it looks for")

    def unlisten(self, numbers: Iterable[int], within: float) -> None:
        """Lets go of listening sockets, their queues served first."""
        for number in numbers:
            self.engine.unlisten(number, within)

    def drain(self, within: float, patience: float = 0.0) -> None:
        """Accepts no more and finishes what is in flight, for `within` seconds at most; then `ended` is set.

        Idle connections get `patience` seconds for a last request.
        """
        if self._draining or self._ended.is_set():
            return
        self._draining = True
        self._region.set_worker(self._worker, state=DRAINING)
        self.engine.stop_accepting()
        self.engine.drain(patience)
        self._deadline = self._loop.call_later(within, self._too_late, within)
        self.engine.on_idle(self.close)

    async def ended(self) -> None:
        """Returns when the engine has been closed."""
        await self._ended.wait()

    def close(self) -> None:
        """Drops everything at once. May be repeated."""
        if self._ended.is_set():
            return
        self._ended.set()
        for handle in (self._timer, self._deadline):
            if handle is not None:
                handle.cancel()
        self.engine.close()
        self._pass_spans()

    def _too_late(self, within: float) -> None:
        log.warning("drain: %d connections still open after %g s are closed", self.engine.active(), within)
        self.close()

    def _tick(self) -> None:
        # Armed first: an exception in the engine's tick must not end the heartbeat of a loop that runs.
        self._timer = self._loop.call_later(TICK, self._tick)
        self._region.beat(self._worker, connections=self.engine.active())
        self.engine.tick()
        self._pass_lines()
        self._pass_spans()

    def answer(self, what: str | EndSessions, on_lines: Callable[[bytes, int], None]) -> Any:
        """What somebody wants to know of the engine, or to end.

        connections: of clients, at most CONNECTIONS, and how many there are. errors: the last malformed messages.
        traffic: counts of authentication and mirrors.
        recent: the last lines of the access log, None when it is off. watch: the same, and lines from now on go to
        `on_lines(lines, lost)` until unwatch. None too where the engine cannot tell: asking must not end who works.
        """
        try:
            return self._answer(what, on_lines)
        except Exception:
            log.exception("no answer to the question %r", what)
            return None

    def _answer(self, what: str | EndSessions, on_lines: Callable[[bytes, int], None]) -> Any:
        match what:
            case EndSessions(backend, address, down):
                return self.engine.end_sessions(backend, address, down)
            case "connections":
                return self.engine.connections(CONNECTIONS)
            case "errors":
                return self.engine.errors()
            case "traffic":
                return self.engine.traffic()
            case "recent":
                return self.engine.recent_log()
            case "watch":
                recent = self.engine.watch_log()
                # Who watches already has not got all of these; they must come before the answer.
                self._pass_lines()
                self._on_lines = on_lines
                return recent
            case "unwatch":
                self._on_lines = None
                self.engine.unwatch_log()
        return None

    def _pass_lines(self) -> None:
        if self._on_lines is not None:
            lines, lost = self.engine.take_log()
            if lines or lost:
                self._on_lines(lines, lost)

    def _pass_spans(self) -> None:
        if self.takes_spans():
            records, count, lost = self.engine.take_spans()
            if count or lost:
                self.on_spans(records, count, lost)
