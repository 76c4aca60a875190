"""The crew of `workers = 0`: one engine on the loop of the supervisor, or of the application that embeds fastlb."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastlb.control.slots import Assignment
from fastlb.runtime import messages
from fastlb.runtime.asking import LogTail
from fastlb.runtime.engine_api import EngineFactory, default_factory
from fastlb.runtime.extras import WorkerInfo
from fastlb.runtime.host import EngineHost
from fastlb.runtime.service import Service, StartError
from fastlb.spec import Spec


class _Inside:
    """The one engine, as something that can be asked."""

    slot = 0

    def __init__(self, crew: InlineCrew) -> None:
        self._crew = crew

    def ask(self, what: str | messages.EndSessions, told: Callable[[Any], None]) -> None:
        told(self._crew.answer(what))


class InlineCrew:
    """One engine in this process; the same verbs as for worker processes."""

    def __init__(self, service: Service, factory: EngineFactory | None = None) -> None:
        self._service = service
        self._factory = factory or default_factory()
        self._host: EngineHost | None = None
        self._listening: set[int] = set()  # numbers of the sockets
        self._started_at = 0.0
        self.tail = LogTail([_Inside(self)])

    async def start(self) -> None:
        """Returns when the engine accepts; raises StartError when it cannot."""
        service = self._service
        service.region.begin_worker(0)
        try:
            self._host = EngineHost(service.region, 0, self._factory, max_connections=service.max_connections)
            self._host.takes_spans, self._host.on_spans = lambda: True, service.spans.feed
            given = list(service.listeners.of_slot(0))
            self._host.start(service.spec, service.assignment, given, service.tls.tickets, service.tls.acme.challenges)
            self._listening.update(number for number, _, _, _ in given)
            self._started_at = time.time()
        except Exception as error:
            raise StartError(f"the engine cannot start: {type(error).__name__}: {error}") from error

    def members(self) -> list[WorkerInfo]:
        """This process."""
        state = "gone" if self._host is None else self._host.state
        return [WorkerInfo(0, os.getpid(), state, 1, self._started_at)]

    def answer(self, what: str | messages.EndSessions) -> Any:
        """Of the engine, see `EngineHost.answer`; None when there is none."""
        if self._host is None or self._host.state == "gone":
            return None
        return self._host.answer(what, lambda lines, lost: self.tail.feed(0, lines, lost))

    async def ask(self, what: str | messages.EndSessions) -> dict[int, Any]:
        """The same, as of several workers."""
        return {0: self.answer(what)}

    async def failed(self) -> str:
        """Never returns: an engine in this process ends with it."""
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never

    async def grow(self, count: int) -> list[str]:
        """One it is, and one it stays."""
        return []

    def shrink(self, count: int, within: float) -> None:
        """Nothing to do."""

    async def apply(self, spec: Spec, assignment: Assignment) -> list[str]:
        """Swaps the configuration in; a line when the engine refused it."""
        if self._host is None:
            return []
        given = {given[0]: given for given in self._service.listeners.of_slot(0)}
        try:
            self._host.apply(
                spec,
                assignment,
                [given[n] for n in given if n not in self._listening],
                {number: index for number, _, index, _ in given.values()},
            )
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]
        self._listening.update(given)
        return []

    async def unlisten(self, numbers: Sequence[int], within: float) -> None:
        """Serves the queues of these sockets and lets go of them."""
        if self._host is not None:
            self._host.unlisten(self._listening.intersection(numbers), within)
        self._listening.difference_update(numbers)

    async def secrets(self, message: messages.Secrets) -> None:
        """Hands certificates and ticket keys to the engine."""
        if self._host is not None:
            self._host.secrets(message)

    def reopen_logs(self) -> None:
        """Closes and opens log files."""
        if self._host is not None:
            self._host.engine.reopen_logs()

    async def drain(self, within: float, patience: float = 0.0) -> None:
        """Returns when everything in flight is finished, or cut after `within` seconds."""
        if self._host is not None:
            self._host.drain(within, patience)
            await self._host.ended()

    async def stop(self) -> None:
        """Drops everything."""
        if self._host is not None:
            self._host.close()
