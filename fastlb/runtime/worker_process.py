"""One worker slot as the supervisor sees it: a process, its channel, its line in the region, its replacement."""

from __future__ import annotations

import asyncio
import enum
import logging
import os
import signal
import site
import socket
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastlb.control.slots import Assignment
from fastlb.runtime import activation, handover, messages, notify
from fastlb.runtime.channel import MAX_FDS, Channel
from fastlb.runtime.service import Service
from fastlb.spec import Spec

log = logging.getLogger("fastlb.runtime")

STALL = 10.0  # seconds without a heartbeat until SIGABRT
STALL_AT_START = 60.0  # the same while the worker builds its first configuration
ABORT_GRACE = 2.0  # seconds between SIGABRT (traceback) and SIGKILL
TRIES = 5  # starts in a row that never became ready, until the supervisor gives up
FIRST_DELAY = 0.1  # before the second of these; doubles
SHORT_LIFE = 1.0  # seconds; after so many lives in a row that were shorter, the slot rests for as long

# Of the environment, what is meant for the supervisor alone.
_SUPERVISORS = frozenset((handover.VARIABLE, *activation.VARIABLES, *notify.VARIABLES))


class State(enum.Enum):
    """Of the slot. STARTING and READY imply a process and a channel, RESTING a timer, GONE nothing."""

    GONE = "gone"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    RESTING = "resting"  # between two failed starts


def worker_command() -> list[str]:
    """How a worker is started: the same interpreter, not looking into the current directory (-P)."""
    return [sys.executable, "-P", "-m", "fastlb.runtime.worker_main"]


def worker_environment() -> dict[str, str]:
    """The environment of workers: ours, plus the way to this very fastlb when it is not an installed one."""
    environment = {name: value for name, value in os.environ.items() if name not in _SUPERVISORS}
    root = Path(__file__).resolve().parent.parent.parent
    installed = {Path(p).resolve() for p in (*site.getsitepackages(), *sysconfig.get_paths().values())}
    if root not in installed:
        path = environment.get("PYTHONPATH", "")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else str(root)
    return environment


class WorkerProcess:
    """Keeps one slot filled from `start` until `drain` or `stop`.

    `on_change()` is called after each change of state, `on_give_up(reason)` when starts keep failing.
    """

    def __init__(
        self,
        service: Service,
        slot: int,
        command: Sequence[str],
        *,
        on_change: Callable[[], None],
        on_give_up: Callable[[str], None],
    ) -> None:
        self.slot = slot
        self.state = State.GONE
        self.pid = 0  # of the process of now, or of the last one
        self.starts = 0  # processes started so far
        self.started_at = 0.0  # time.time() of the last one
        self._service = service
        self._command = command
        self._on_change = on_change
        self._on_give_up = on_give_up
        self._channel: Channel | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._leaving = False
        self._failures = 0
        self._reason = ""
        self._listening: set[int] = set()  # numbers of the sockets that the process has
        self._applies: dict[int, asyncio.Future[str]] = {}
        self._unlistens: dict[tuple[int, ...], asyncio.Future[None]] = {}
        self._asked: dict[int, Callable[[Any], None]] = {}
        self._questions = 0
        self.on_ready: Callable[[WorkerProcess], None] = lambda worker: None
        self.on_lines: Callable[[int, bytes, int], None] = lambda slot, lines, lost: None
        self._beats = -1
        self._beat_at = 0.0
        self._aborted_at = 0.0
        self._ready_at = 0.0

    @property
    def leaving(self) -> bool:
        """Asked to drain or stop."""
        return self._leaving

    def start(self) -> None:
        """Fills the slot."""
        self._task = asyncio.get_running_loop().create_task(self._keep_filled(), name=f"worker {self.slot}")

    async def wait(self) -> None:
        """Returns when the slot is empty for good."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def send(self, message: messages.Message) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def ask(self, what: str | messages.EndSessions, told: Callable[[Any], None]) -> None:
        """Asks the worker's engine (EngineHost.answer); `told` gets the answer, None when there is no worker."""
        if self._channel is None or self.state not in (State.READY, State.DRAINING):
            told(None)
            return
        self._questions += 1
        self._asked[self._questions] = told
        self._channel.send(messages.Ask(self._questions, what))

    def drain(self, within: float, patience: float = 0.0) -> None:
        """Has the worker finish and leave; no successor is started."""
        self._leaving = True
        self.send(messages.Drain(within, patience))
        if self.state is State.READY:
            self._change(State.DRAINING)
        elif self.state is State.RESTING and self._task is not None:
            self._task.cancel()

    def stop(self) -> None:
        """Has the worker leave at once; no successor is started."""
        self._leaving = True
        self.send(messages.Stop())
        if self.state is State.RESTING and self._task is not None:
            self._task.cancel()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signals the process, if there is one."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def apply(self, spec: Spec, assignment: Assignment) -> str:
        """Has the worker run the configuration, with the sockets that it has not yet; '' or what went wrong.

        A worker that dies gets it at its next start.
        """
        if self._channel is None or self.state not in (State.READY, State.STARTING):
            return ""
        new = self._send_sockets(self._channel)
        waiting = asyncio.get_running_loop().create_future()
        self._applies[assignment.generation] = waiting
        listeners = tuple(given[:3] for given in self._service.listeners.of_slot(self.slot))
        self._channel.send(messages.Apply(spec, assignment, listeners))
        error: str = await waiting
        if error:
            self._listening.difference_update(new)
            return f"worker {self.slot}: {error}"
        return ""

    async def unlisten(self, numbers: Sequence[int], within: float) -> None:
        """Returns when the worker does not accept on these sockets any more, or is gone."""
        mine = tuple(sorted(self._listening.intersection(numbers)))
        self._listening.difference_update(mine)
        if not mine or self._channel is None:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._unlistens[mine] = waiting
        self._channel.send(messages.Unlisten(mine, within))
        await waiting

    def check_heartbeat(self, now: float) -> None:
        """Called every second: a worker whose beat stands still is aborted, then killed."""
        if self._process is None or self.state not in (State.STARTING, State.READY, State.DRAINING):
            return
        beats = self._service.region.worker_status(self.slot).beats
        if beats != self._beats:
            self._beats, self._beat_at, self._aborted_at = beats, now, 0.0
        elif self._aborted_at:
            if now - self._aborted_at > ABORT_GRACE:
                self.kill()
        elif now - self._beat_at > (STALL if beats else STALL_AT_START):
            log.error("worker %d (pid %d) has not moved for %.0f s: aborted", self.slot, self.pid, now - self._beat_at)
            self._aborted_at = now
            self.kill(signal.SIGABRT)

    def forgive(self, now: float) -> None:
        """Starts the count of silence anew: the supervisor itself stood still, and the workers perhaps with it."""
        self._beat_at = now

    async def _keep_filled(self) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        short = 0  # lives in a row that were
        try:
            while True:
                ready = await self._one_life()
                if self._leaving:
                    return
                if ready:
                    self._failures, delay = 0, FIRST_DELAY
                    # Replaced at once, except when something kills it again and again.
                    short = short + 1 if loop.time() - self._ready_at < SHORT_LIFE else 0
                    if short >= TRIES:
                        self._change(State.RESTING)
                        await asyncio.sleep(SHORT_LIFE)
                    continue
                self._failures += 1
                if self._failures >= TRIES:
                    self._on_give_up(f"worker {self.slot} did not start {TRIES} times in a row: {self._reason}")
                    return
                self._change(State.RESTING)
                await asyncio.sleep(delay)
                delay *= 2
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self._on_give_up(f"worker {self.slot}: {error}")
        finally:
            self._change(State.GONE)

    async def _one_life(self) -> bool:
        """Starts a process and waits for its end; true when it had become ready."""
        region = self._service.region
        ours, theirs = socket.socketpair()
        with theirs:
            region.begin_worker(self.slot)
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    "--fd",
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    env=worker_environment(),
                )
            except BaseException:
                ours.close()
                raise
        self._process, self.pid = process, process.pid
        self.starts += 1
        self.started_at = time.time()
        self._reason = ""
        self._beats, self._beat_at, self._aborted_at = 0, asyncio.get_running_loop().time(), 0.0
        self._channel = Channel(ours, self._on_message, lambda error: None)
        self._change(State.STARTING)
        ready = False
        try:
            self._send_start(self._channel)
            if self._leaving:  # asked to leave while the process was being made
                self._channel.send(messages.Stop())
            status = await process.wait()
            ready = self.state in (State.READY, State.DRAINING)
        except BaseException:
            self.kill()
            await process.wait()
            raise
        finally:
            self._channel.close()
            self._channel = self._process = None
            held = region.reap(self.slot)
            for applying in self._applies.values():
                if not applying.done():
                    applying.set_result("")
            for leaving in self._unlistens.values():
                if not leaving.done():
                    leaving.set_result(None)
            self._applies.clear()
            self._unlistens.clear()
            unanswered = list(self._asked.values())
            self._asked.clear()
            for told in unanswered:
                told(None)
        if not self._leaving or status:
            self._reason = self._reason or ended(status)
            text = f"{ended(status)}; {held} requests were on it"
            log.error("worker %d (pid %d) %s", self.slot, self.pid, text)
            self._service.events.add("worker", f"worker {self.slot}", f"pid {self.pid} {text}", level="error")
        return ready

    def _send_start(self, channel: Channel) -> None:
        service = self._service
        self._listening.clear()
        self._send_sockets(channel)
        start = messages.Start(
            self.slot,
            service.spec,
            service.assignment,
            service.max_connections,
            service.tls.tickets,
            service.tls.acme.challenges,
        )
        channel.send(start, [service.region.fd])

    def _send_sockets(self, channel: Channel) -> list[int]:
        """Sends what the process has not yet; their numbers."""
        new = [given for given in self._service.listeners.of_slot(self.slot) if given[0] not in self._listening]
        for first in range(0, len(new), MAX_FDS):
            some = new[first : first + MAX_FDS]
            channel.send(messages.Sockets(tuple(given[:3] for given in some)), [given[3].fileno() for given in some])
        numbers = [given[0] for given in new]
        self._listening.update(numbers)
        return numbers

    def _on_message(self, message: messages.Message, fds: list[int]) -> None:
        for fd in fds:  # workers send none
            os.close(fd)
        match message:
            case messages.Ready():
                if self.state is State.STARTING:
                    self._ready_at = asyncio.get_running_loop().time()
                    self._service.events.add("worker", f"worker {self.slot}", f"pid {self.pid} accepts connections")
                    self._change(State.DRAINING if self._leaving else State.READY)
                    self.on_ready(self)
            case messages.Applied(generation, error):
                waiting = self._applies.pop(generation, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(error)
            case messages.Unlistened(numbers):
                leaving = self._unlistens.pop(numbers, None)
                if leaving is not None and not leaving.done():
                    leaving.set_result(None)
            case messages.Told(number, value):
                told = self._asked.pop(number, None)
                if told is not None:
                    told(value)
            case messages.LogLines(lines, lost):
                self.on_lines(self.slot, lines, lost)
            case messages.SpanRecords(records, count, lost):
                self._service.spans.feed(records, count, lost)
            case messages.Failed(reason):
                self._reason = reason
            case _:
                log.error("worker %d sent an unexpected %s", self.slot, type(message).__name__)

    def _change(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._on_change()


def ended(status: int) -> str:
    """How a process with this return code ended."""
    if status >= 0:
        return f"left with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
