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
PATIENCE = 5.0  # seconds that idle connections of a retired worker get for a last request
GRACE = 2.0  # seconds that workers get to leave after their time is up, until SIGKILL


class ProcessCrew:
    """A process for each worker slot."""

    def __init__(self, service: Service, command: Sequence[str]) -> None:
        self._service = service
        self._command = command
        self._changed = asyncio.Event()
        self._gave_up: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._joining: dict[int, str] = {}  # slots whose first start is waited for, and why it failed
        self._retiring: set[asyncio.Task[None]] = set()
        self.workers: list[WorkerProcess] = []  # by slot
        self.tail = LogTail(self.workers)
        for slot in range(service.workers):
            self._add(slot)
        self._watch: asyncio.Task[None] | None = None

    def _add(self, slot: int) -> WorkerProcess:
        def give_up(reason: str) -> None:
            if slot in self._joining:
                self._joining[slot] = reason
            elif not self._gave_up.done():
                self._gave_up.set_result(reason)
            self._changed.set()

        worker = WorkerProcess(self._service, slot, self._command, on_change=self._changed.set, on_give_up=give_up)
        worker.on_ready = self.tail.joined
        worker.on_lines = self.tail.feed
        self.workers.append(worker)
        self.workers.sort(key=lambda one: one.slot)
        return worker

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

    async def grow(self, count: int) -> list[str]:
        """Returns when there are workers in the first `count` slots that run what the others run.

        Those that join listen on nothing until they are given sockets by `apply`. A line for each that did not start.
        """
        there = {worker.slot: worker for worker in self.workers}
        leaving = [slot for slot in range(count) if slot in there and there[slot].leaving]
        if leaving:
            return [f"worker {slot}: the one that was retired from its place still drains" for slot in leaving]
        joining = [self._add(slot) for slot in range(count) if slot not in there]
        self._joining = {worker.slot: "" for worker in joining}
        for worker in joining:
            worker.start()
        try:
            while not all(w.state is State.READY or self._joining[w.slot] for w in joining):
                self._changed.clear()
                await self._changed.wait()
            return [reason for reason in self._joining.values() if reason]
        finally:
            self._joining = {}

    def shrink(self, count: int, within: float) -> None:
        """Has the workers of the slots from `count` on finish what is in flight, within so many seconds, and leave.

        Their sockets must be others' already.
        """
        for worker in [w for w in self.workers if w.slot >= count and not w.leaving]:
            if worker.state is State.GONE:  # it never started
                self.workers.remove(worker)
                continue
            worker.drain(within, PATIENCE)  # at once: asked a second time it must not be retired twice
            task = asyncio.get_running_loop().create_task(self._retire(worker, within))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, worker: WorkerProcess, within: float) -> None:
        try:
            async with asyncio.timeout(within + GRACE):
                await worker.wait()
        except TimeoutError:
            worker.kill()
            await worker.wait()
        self.workers.remove(worker)

    async def failed(self) -> str:
        """Returns the reason when a worker can no longer be replaced."""
        return await asyncio.shield(self._gave_up)

    def members(self) -> list[WorkerInfo]:
        """One a worker slot."""
        return [WorkerInfo(w.slot, w.pid, w.state.value, w.starts, w.started_at) for w in self.workers]

    async def ask(self, what: str | messages.EndSessions) -> dict[int, Any]:
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

    async def secrets(self, message: messages.Secrets) -> None:
        """Returns when every worker has the certificates and ticket keys."""
        for worker in self.workers:
            worker.send(message)
        await self.ask("errors")  # answered behind what was sent before

    def reopen_logs(self) -> None:
        for worker in self.workers:
            worker.send(messages.ReopenLogs())

    async def drain(self, within: float, patience: float = 0.0) -> None:
        """Returns when all workers are gone: finished, or killed when their time was up.

        Idle connections get `patience` seconds for a last request, where another process takes the next.
        """
        for worker in self.workers:
            worker.drain(within, patience)
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
