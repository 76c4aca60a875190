"""The workers as a crew: a process for each slot, started, watched, configured and drained together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastlb.control.slots import Assignment
from fastlb.runtime import messages
from fastlb.runtime.asking import LogTail, ask_all
from fastlb.runtime.extras import WorkerInfo
from fastlb.runtime.service import Service, StartError
from fastlb.runtime.worker_process import State, WorkerProcess
from fastlb.spec import Spec

WATCH = 1.0  # seconds between two looks at the heartbeats
GRACE = 2.0  # seconds that workers get to leave after their time is up, until SIGKILL


class ProcessCrew:
    """A process for each worker slot."""

    def __init__(self, service: Service, command: Sequence[str]) -> None:
        self._service = service
        self._changed = asyncio.Event()
        self._gave_up: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.workers = [
            WorkerProcess(service, slot, command, on_change=self._changed.set, on_give_up=self._give_up)
            for slot in range(service.workers)
        ]
        self.tail = LogTail(self.workers)
        for worker in self.workers:
            worker.on_ready = self.tail.joined
            worker.on_lines = self.tail.feed
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when every worker accepts; raises StartError when one cannot."""
        for worker in self.workers:
            worker.start()
        self._watch = asyncio.get_running_loop().create_task(self._watch_heartbeats())
        while not all(w.state is State.READY for w in self.workers):
            if self._gave_up.done():
                raise StartError(self._gave_up.result())
            self._changed.clear()
            await self._changed.wait()

    async def failed(self) -> str:
        """Returns the reason when a worker can no longer be replaced."""
        return await asyncio.shield(self._gave_up)

    def members(self) -> list[WorkerInfo]:
        """One a worker slot."""
        return [WorkerInfo(w.slot, w.pid, w.state.value, w.starts, w.started_at) for w in self.workers]

    async def ask(self, what: str) -> dict[int, Any]:
        """The answers of all workers by slot, see `EngineHost.answer`; None where there was none."""
        answers: dict[int, Any] = {}
        await ask_all(self.workers, what, answers.__setitem__)
        return answers

    async def apply(self, spec: Spec, assignment: Assignment) -> list[str]:
        """Has every worker run the configuration; a line for each that stayed as it was."""
        results = await asyncio.gather(*(w.apply(spec, assignment) for w in self.workers))
        return [line for line in results if line]

    async def unlisten(self, numbers: Sequence[int], within: float) -> None:
        """Returns when no worker accepts on these sockets any more."""
        await asyncio.gather(*(w.unlisten(numbers, within) for w in self.workers))

    def reopen_logs(self) -> None:
        for worker in self.workers:
            worker.send(messages.ReopenLogs())

    async def drain(self, within: float) -> None:
        """Returns when all workers are gone: finished, or killed when their time was up."""
        for worker in self.workers:
            worker.drain(within)
        await self._gone(within + GRACE)

    async def stop(self) -> None:
        """Returns when all workers are gone, at once or nearly."""
        for worker in self.workers:
            worker.stop()
        await self._gone(GRACE)

    async def _gone(self, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                await asyncio.gather(*(w.wait() for w in self.workers))
        except TimeoutError:
            for worker in self.workers:
                worker.kill()
            await asyncio.gather(*(w.wait() for w in self.workers))
        finally:
            if self._watch is not None:
                self._watch.cancel()

    def _give_up(self, reason: str) -> None:
        if not self._gave_up.done():
            self._gave_up.set_result(reason)
        self._changed.set()

    async def _watch_heartbeats(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(WATCH)
            now = loop.time()
            for worker in self.workers:
                if now - last > 3 * WATCH:
                    worker.forgive(now)
                worker.check_heartbeat(now)
            last = now
