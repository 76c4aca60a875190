"""Ends the sessions of servers: when a server goes down, where its backend says so, and when the operator does."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from fastlb.runtime.messages import EndSessions
from fastlb.spec import Server

if TYPE_CHECKING:
    from fastlb.runtime.service import Crew, Service

log = logging.getLogger("fastlb.runtime")

# The standings of a server that no longer serves. One that drains goes on with what it has.
LOST = ("DOWN", "EJECTED", "MAINT")


class SessionEnder:
    """One per service; `start` once there is a crew, `stop` before it ends."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._crew: Crew | None = None
        self._tasks: set[asyncio.Task[int]] = set()
        service.book.on_move = self._moved

    def start(self, crew: Crew) -> None:
        """Servers that go down lose their sessions from now on, where the configuration says so."""
        self._crew = crew

    async def stop(self) -> None:
        """Ends what is under way."""
        self._crew = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def end(self, backend: str, server: Server, *, down: bool = False) -> int:
        """Ends what is under way at the server, in all workers; returns how much that was, where they told in time."""
        if self._crew is None:
            return 0
        told = await self._crew.ask(EndSessions(backend, str(server.address), down))
        ended = sum(int(count) for count in told.values() if count)
        if ended:
            why = "it is down" if down else "as the operator asked"
            text = f"{ended} session{'' if ended == 1 else 's'} ended: {why}"
            log.warning("server %s/%s: %s", backend, server.name, text)
            self._service.events.add("server", f"{backend}/{server.name}", text, level="warning")
        return ended

    def _moved(self, backend: str, server: Server, state: str) -> None:
        if self._crew is None or state not in LOST:
            return
        if any(b.name == backend and b.shutdown_sessions for b in self._service.spec.backends):
            task = asyncio.get_running_loop().create_task(self.end(backend, server, down=True))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[int]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the sessions of a server that is down were not ended", exc_info=error)
