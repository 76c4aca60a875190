"""The supervisor: starts, watches, drains and replaces workers, and acts on signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastlb.control.changes import Changes
from fastlb.control.slots import Assignment
from fastlb.control.sockets import ListenError
from fastlb.errors import ConfigError
from fastlb.runtime import messages
from fastlb.runtime.asking import LogTail, ask_all
from fastlb.runtime.drain import drain_time
from fastlb.runtime.engine_api import EngineFactory
from fastlb.runtime.extras import Extra, ExtraFactory, Phase, Running, WorkerInfo
from fastlb.runtime.info import RuntimeInfo
from fastlb.runtime.inline import InlineCrew
from fastlb.runtime.log_setup import set_up_log
from fastlb.runtime.operator import Operator, Source
from fastlb.runtime.service import Service, StartError
from fastlb.runtime.worker_process import State, WorkerProcess, worker_command
from fastlb.spec import Spec

log = logging.getLogger("fastlb.runtime")

WATCH = 1.0  # seconds between two looks at the heartbeats
GRACE = 2.0  # seconds that workers get to leave after their time is up, until SIGKILL

OK, FAILED, WRONG_CONFIG = 0, 1, 2  # exit statuses


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


class Supervisor:
    """Runs `spec` until a signal ends it. `run` on the main thread's loop; everything else is called from there.

    `command` starts a worker, `factory` makes the engine when there are none; both are for tests of the runtime itself.
    `banner` is called once the addresses are bound; the line "fastlb ready: ..." follows when all workers accept, and
    then `ready` is called. `extras` make what else lives in this process, `source` is where a reload reads.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        banner: Callable[[Spec, RuntimeInfo], None] | None = None,
        ready: Callable[[RuntimeInfo], None] | None = None,
        command: Sequence[str] | None = None,
        factory: EngineFactory | None = None,
        extras: Sequence[ExtraFactory] = (),
        source: Source | None = None,
    ) -> None:
        self._spec = spec
        self._source = source
        self._banner = banner
        self._ready = ready
        self._command = command or worker_command()
        self._factory = factory
        self._extras = extras
        self._drain_asked = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._crew: ProcessCrew | InlineCrew | None = None
        self._operator: Operator | None = None
        self._service: Service | None = None

    async def run(self) -> int:
        """Serves; returns the exit status: 0 after a signal, 1 when it cannot run, 2 when `spec` is too large."""
        self._handle_signals()
        open_extras: list[Extra] = []
        crew: ProcessCrew | InlineCrew | None = None
        try:
            effective = Changes(self._spec.changes).over(self._spec)
            self._service = service = Service(effective, workers=self._spec.global_.workers)
            await service.open()
            crew = ProcessCrew(service, self._command) if service.workers else InlineCrew(service, self._factory)
            self._crew = crew
            self._operator = Operator(service, crew, self._spec, self._source)
            self._operator.on_reload = self._reloading
            running = Running(service, crew, os.getpid(), actions=self._operator)
            for make in self._extras:
                extra = make(running)
                await extra.open()
                open_extras.append(extra)
            return await self._serve(running, crew, open_extras)
        except (ListenError, ConfigError) as error:
            for problem in error.problems:
                log.error("%s", problem)
            return WRONG_CONFIG if isinstance(error, ConfigError) else FAILED
        finally:
            if self._operator is not None:
                await self._operator.close()
            if crew is not None:
                await crew.stop()
            for extra in reversed(open_extras):
                await extra.close()
            if self._service is not None:
                await self._service.close()

    async def _serve(self, running: Running, crew: ProcessCrew | InlineCrew, extras: Sequence[Extra]) -> int:
        service = running.service
        info = service.info(os.getpid())
        if self._banner is not None:
            self._banner(service.spec, info)
        try:
            if not await self._unless(crew.start(), self._stop_asked, self._drain_asked):
                return OK
        except StartError as error:
            log.error("%s", error)
            return FAILED
        service.watch(crew)
        running.phase = Phase.READY
        places = [*info.places(), *(place for extra in extras for place in extra.places())]
        print(f"fastlb ready: {'; '.join(places)}; {workers_text(info)}", file=sys.stderr, flush=True)
        if self._ready is not None:
            self._ready(info)
        drain = asyncio.create_task(self._drain_asked.wait())
        stop = asyncio.create_task(self._stop_asked.wait())
        failure = asyncio.create_task(crew.failed())
        try:
            await asyncio.wait({drain, stop, failure}, return_when=asyncio.FIRST_COMPLETED)
            if failure.done():
                log.error("%s", failure.result())
            running.phase = Phase.DRAINING
            if not stop.done():
                within = drain_time(service.spec)
                log.info("draining: no new connections, %g s for what is in flight", within)
                await service.stop_watching()
                # Closed here first, so that a worker's own close is the last: what still waits in a queue is served.
                service.listeners.close()
                await self._unless(crew.drain(within), self._stop_asked)
            return FAILED if failure.done() else OK
        finally:
            for task in (drain, stop, failure):
                task.cancel()

    async def _unless(self, work: Coroutine[None, None, None], *events: asyncio.Event) -> bool:
        """True when the work is done, false when it was given up because of one of the events."""
        doing = asyncio.ensure_future(work)
        waits = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait({doing, *waits}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
                return True
            return False
        finally:
            for task in (doing, *waits):
                task.cancel()
            await asyncio.gather(doing, *waits, return_exceptions=True)

    def _handle_signals(self) -> None:
        """Handlers only note what is asked; `_serve` acts."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask_to_leave)
        loop.add_signal_handler(signal.SIGQUIT, self._stop_asked.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR1, self._reopen_logs)

    def _ask_to_leave(self) -> None:
        if self._drain_asked.is_set():
            self._stop_asked.set()
        self._drain_asked.set()

    def _reload(self) -> None:
        if self._operator is None or self._drain_asked.is_set():
            log.warning("no reload while starting or stopping")
        else:
            log.info("reload asked for by signal")
            self._operator.soon(self._operator.reload)

    def _reloading(self, begins: bool) -> None:
        if not begins and self._crew is not None and self._service is not None:
            set_up_log(self._service.spec.log.level, "supervisor")

    def _reopen_logs(self) -> None:
        if self._crew is not None:
            log.info("log files are reopened")
            self._crew.reopen_logs()


def workers_text(info: RuntimeInfo) -> str:
    """'2 workers', 'in one process'."""
    if info.workers == 0:
        return "in one process"
    return f"{info.workers} worker{'s' if info.workers > 1 else ''}"


def serve(
    spec: Spec,
    *,
    banner: Callable[[Spec, RuntimeInfo], None] | None = None,
    ready: Callable[[RuntimeInfo], None] | None = None,
    command: Sequence[str] | None = None,
    factory: EngineFactory | None = None,
    extras: Sequence[ExtraFactory] = (),
    source: Source | None = None,
) -> int:
    """Runs `spec` in this process and its workers until a signal ends it; returns the exit status.

    TERM and INT drain, a second one or QUIT stops at once, HUP reads `source` again, USR1 reopens the logs. Must be
    called on the main thread, with no loop running.
    """
    import uvloop

    set_up_log(spec.log.level, "supervisor")

    async def main() -> int:
        supervisor = Supervisor(
            spec, banner=banner, ready=ready, command=command, factory=factory, extras=extras, source=source
        )
        return await supervisor.run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())
