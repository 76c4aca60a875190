"""The supervisor: starts, watches, drains and replaces workers, and acts on signals."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence

from fastlb.control.changes import Changes
from fastlb.control.sockets import ListenError
from fastlb.errors import ConfigError, Problem
from fastlb.runtime.actions import Answer
from fastlb.runtime.activation import passed_sockets
from fastlb.runtime.crew import ProcessCrew
from fastlb.runtime.drain import drain_time
from fastlb.runtime.engine_api import EngineFactory
from fastlb.runtime.extras import Extra, ExtraFactory, Phase, Running
from fastlb.runtime.handover import Handover, HandoverError, Receiver, Successor, command, hand_over
from fastlb.runtime.info import RuntimeInfo, shown
from fastlb.runtime.inline import InlineCrew
from fastlb.runtime.log_setup import set_up_log
from fastlb.runtime.notify import Notifier
from fastlb.runtime.operator import Operator, Source
from fastlb.runtime.pid_file import remove_pid_file, write_pid_file
from fastlb.runtime.privileges import become, identity_of
from fastlb.runtime.service import Service, StartError
from fastlb.runtime.succession import Telling, take_counts
from fastlb.runtime.watch import Marks, files_of, marks_of, watch
from fastlb.runtime.worker_process import worker_command
from fastlb.spec import Spec

log = logging.getLogger("fastlb.runtime")

OK, FAILED, WRONG_CONFIG = 0, 1, 2  # exit statuses
PATIENCE = 5.0  # seconds that idle connections get for a last request, when another process has taken over


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
        self._notifier = Notifier.from_environment()
        self._receiver: Receiver | None = None  # from whom we take over
        self._up = False  # all workers accept
        self._successor: Successor | None = None  # the process that has taken over from us
        self._telling: Telling | None = None  # what it shows beside its own
        self._counts: asyncio.Task[None] | None = None  # of the process before
        self._drain_asked = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._crew: ProcessCrew | InlineCrew | None = None
        self._operator: Operator | None = None
        self._service: Service | None = None
        self._open_extras: list[Extra] = []
        self._marks: Marks = {}  # of the watched files, when they were read

    async def run(self) -> int:
        """Serves; returns the exit status: 0 after a signal, 1 when it cannot run, 2 when `spec` cannot be used."""
        self._handle_signals()
        try:
            self._receiver = Receiver.from_environment()
            running, crew = await self._prepare()
            return await self._serve(running, crew)
        except HandoverError as error:
            log.error("cannot take over: %s", error)
            return FAILED
        except (ListenError, ConfigError) as error:
            for problem in error.problems:
                log.error("%s", problem)
            return WRONG_CONFIG if isinstance(error, ConfigError) else FAILED
        finally:
            if self._operator is not None:
                await self._operator.close()
            if self._crew is not None:
                await self._crew.stop()
            if self._telling is not None:
                await self._telling.finish()
            if self._counts is not None:
                self._counts.cancel()
            for extra in reversed(self._open_extras):
                await extra.close()
            if self._service is not None:
                await self._service.close()
            if self._spec.global_.pid_file:
                remove_pid_file(self._spec.global_.pid_file)
            if self._receiver is not None:
                self._receiver.close()

    async def _prepare(self) -> tuple[Running, ProcessCrew | InlineCrew]:
        """Everything that may need root: opens what there is to open, then becomes who the configuration names."""
        settings, source = self._spec.global_, self._spec.source
        self._marks = await asyncio.to_thread(marks_of, self._watched())
        identity = identity_of(settings, source)
        if self._receiver is not None:  # what was changed at run time, rather than what the overlay has of it
            self._spec = dataclasses.replace(self._spec, changes=tuple(self._receiver.handover.changes))
        effective = Changes(self._spec.changes).over(self._spec)
        handed = self._receiver.handover if self._receiver is not None else Handover()
        self._service = service = Service(effective, workers=settings.workers, secret=handed.secret)
        service.listeners.inherit(passed_sockets())
        if self._receiver is not None:
            service.listeners.inherit(handed.sockets)
        await service.open()
        if self._receiver is not None:
            service.take_health(handed.up)
            service.tls.take_tickets(handed.tickets, handed.tickets_age)
        crew: ProcessCrew | InlineCrew
        crew = ProcessCrew(service, self._command) if service.workers else InlineCrew(service, self._factory)
        self._crew = crew
        self._operator = Operator(service, crew, self._spec, self._source)
        self._operator.on_reload = self._reloading
        self._operator.hand_over = self._hand_over
        running = Running(
            service, crew, os.getpid(), actions=self._operator, inherited=service.listeners.take_unclaimed()
        )
        if self._receiver is not None:
            running.may_answer.clear()
        for make in self._extras:
            extra = make(running)
            await extra.open()
            self._open_extras.append(extra)
        self._operator.extras = self._open_extras
        for one in running.inherited:
            log.warning("nothing listens on %s any more, whose socket was passed on", shown(one.asked[1]))
            for sock in one.sockets:
                sock.close()
        running.inherited = []
        if self._receiver is None:
            self._write_pid_file()
        if identity is not None:
            files = [*service.listeners.files(), *(f for extra in self._open_extras for f in extra.files())]
            files += [settings.pid_file] if settings.pid_file else []
            with _problem("global.user", settings.user or settings.group, source, "cannot be taken on"):
                become(identity, files, [path] if (path := log_file(self._spec)) else [])
        return running, crew

    def _write_pid_file(self) -> None:
        path = self._spec.global_.pid_file
        if path:
            with _problem("global.pid_file", path, self._spec.source, "cannot be written"):
                write_pid_file(path)

    async def _serve(self, running: Running, crew: ProcessCrew | InlineCrew) -> int:
        service = running.service
        info = service.info(os.getpid())
        if self._banner is not None:
            self._banner(service.spec, info)
        alive = asyncio.create_task(self._tell_alive())
        try:
            if not await self._unless(crew.start(), self._stop_asked, self._drain_asked):
                return OK
        except StartError as error:
            log.error("%s", error)
            return FAILED
        finally:
            alive.cancel()
        if self._receiver is not None:
            await self._receiver.ready()
            self._counts = asyncio.create_task(take_counts(self._receiver, running))
            self._write_pid_file()
        service.watch(crew)
        running.phase = Phase.READY
        self._up = True
        places = [*info.places(), *(place for extra in self._open_extras for place in extra.places())]
        print(f"fastlb ready: {'; '.join(places)}; {workers_text(info)}", file=sys.stderr, flush=True)
        self._notifier.ready(self._status())
        if self._ready is not None:
            self._ready(info)
        return await self._until_asked(running, crew)

    async def _until_asked(self, running: Running, crew: ProcessCrew | InlineCrew) -> int:
        """From ready to the end of the drain."""
        service = running.service
        drain = asyncio.create_task(self._drain_asked.wait())
        stop = asyncio.create_task(self._stop_asked.wait())
        failure = asyncio.create_task(crew.failed())
        alive = asyncio.create_task(self._tell_alive())
        watching = asyncio.create_task(watch(self._watched, self._changed, self._marks))
        try:
            await asyncio.wait({drain, stop, failure}, return_when=asyncio.FIRST_COMPLETED)
            watching.cancel()
            if failure.done():
                log.error("%s", failure.result())
            running.phase = Phase.DRAINING
            if not stop.done():
                within = drain_time(service.spec)
                log.info("draining: no new connections, %g s for what is in flight", within)
                if self._successor is not None:
                    await self._leave_places(service)
                    self._telling = Telling(self._successor, service)
                else:
                    self._notifier.stopping("draining")
                await service.stop_watching()
                # Closed here first, so that a worker's own close is the last: what still waits in a queue is served.
                service.listeners.close()
                await self._unless(
                    crew.drain(within, PATIENCE if self._successor is not None else 0.0), self._stop_asked
                )
            return FAILED if failure.done() else OK
        finally:
            for task in (drain, stop, failure, alive, watching):
                task.cancel()

    async def _hand_over(self) -> int:
        """Has a new process take over; its id. Raises HandoverError, and then nothing is changed."""
        service, operator = self._service, self._operator
        assert service is not None and operator is not None
        if self._drain_asked.is_set() or self._stop_asked.is_set():
            raise HandoverError("the program is stopping")
        sockets = [*service.listeners.inheritance(), *(i for extra in self._open_extras for i in extra.inheritance())]
        handover = Handover(
            sockets, operator.changes(), service.health(),
            service.tls.tickets, service.tls.tickets_age, service.region.secret,
        )  # fmt: skip
        log.info("upgrade: %s", shlex.join(command()))
        self._successor = await hand_over(handover, self._notifier.successor)
        self._drain_asked.set()
        return self._successor.pid

    async def _leave_places(self, service: Service) -> None:
        """Leaves the files of Unix sockets, and all questions from now on, to the successor."""
        service.listeners.forget_files()
        for extra in reversed(self._open_extras):
            extra.forget_files()
            await extra.close()
        self._open_extras.clear()

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
        loop.add_signal_handler(signal.SIGUSR2, self._upgrade)

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

    def _upgrade(self) -> None:
        if self._operator is None or not self._up or self._drain_asked.is_set():
            log.warning("no upgrade while starting or stopping")
        else:
            self._operator.soon(self._operator.upgrade)

    def _reloading(self, answer: Answer | None) -> None:
        if answer is None:
            self._notifier.reloading()
            return
        if self._service is not None:
            set_up_log(self._service.spec.log.level, "supervisor")
        self._notifier.ready(self._status("" if answer.ok else "; the last reload failed"))

    def _status(self, more: str = "") -> str:
        """For `systemctl status`."""
        service = self._service
        assert service is not None
        workers = workers_text(service.info(os.getpid()))
        return f"{workers}, {_counted(len(service.spec.frontends), 'frontend')}, {_servers(service.spec)}{more}"

    async def _tell_alive(self) -> None:
        """Feeds the service manager's watchdog as long as this loop runs."""
        while self._notifier.watchdog:
            self._notifier.alive()
            await asyncio.sleep(self._notifier.watchdog / 3)

    def _watched(self) -> list[str]:
        """Files whose change is a reason to reload."""
        if self._source is None or not self._source.path:
            return []
        spec = self._spec if self._operator is None else self._operator.configured()
        return [self._source.path, *files_of(spec)] if spec.global_.watch else []

    def _changed(self) -> None:
        if self._operator is not None:
            log.info("reload because a file has changed")
            self._operator.soon(self._operator.reload)

    def _reopen_logs(self) -> None:
        if self._crew is not None:
            log.info("log files are reopened")
            self._crew.reopen_logs()


def workers_text(info: RuntimeInfo) -> str:
    """'2 workers', 'in one process'."""
    return _counted(info.workers, "worker") if info.workers else "in one process"


def log_file(spec: Spec) -> str:
    """The file of the access log; '' when it goes elsewhere."""
    access = spec.log.access
    return "" if access in ("stdout", "stderr", "off") or access.startswith("syslog:") else access


def _servers(spec: Spec) -> str:
    return _counted(sum(len(b.servers) for b in spec.backends), "server")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


@contextlib.contextmanager
def _problem(key: str, value: str, source: str, what: str) -> Iterator[None]:
    """Turns what the system refuses into a problem of the configuration."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([Problem(key, value, f"{what}: {why}", file=source)]) from error


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

    TERM and INT drain, a second one or QUIT stops at once, HUP reads `source` again, USR1 reopens the logs, USR2
    hands over to the program started anew. Must be
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
