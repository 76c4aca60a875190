"""Checks by a command or by a function of the user's."""

from __future__ import annotations

import asyncio
import os
import pkgutil
import signal
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass

from fastlb.health.probe import Done, Probe
from fastlb.health.verdict import Word

MOST = 64  # commands at a time; more wait for their turn


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """What a check function gets: who is to be checked."""

    backend: str
    server: str
    host: str  # the address found for the server; '' for a Unix socket
    port: int
    path: str = ""  # of a Unix socket


CheckFunction = Callable[[CheckTarget], Awaitable[object]]

_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


def find_function(name: str) -> CheckFunction:
    """The function that 'module:function' names. Raises ValueError with a reason where there is none."""
    try:
        found = pkgutil.resolve_name(name)
    except Exception as error:  # whatever the module raises
        raise ValueError(f"{name} cannot be imported: {type(error).__name__}: {error}") from None
    if not callable(found):
        raise ValueError(f"{name} is not a function")
    return found  # type: ignore[no-any-return]


class TaskProbe(Probe):
    """A check that is a coroutine, which ends it."""

    __slots__ = ("_task",)

    def __init__(self, loop: asyncio.AbstractEventLoop, done: Done) -> None:
        super().__init__(loop, done)
        self._task: asyncio.Task[None] | None = None

    def _run(self, work: Coroutine[None, None, None]) -> None:
        self._task = self._loop.create_task(work)

    def _close(self) -> None:
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task(self._loop):
            task.cancel()


class BrokenProbe(TaskProbe):
    """What stands in for a check that cannot be made: says so each time, and nothing about the server."""

    __slots__ = ()

    def __init__(self, loop: asyncio.AbstractEventLoop, done: Done, reason: str) -> None:
        super().__init__(loop, done)
        self._run(self._say(reason))

    async def _say(self, reason: str) -> None:
        self._end(Word.SOCKERR, reason)


class ExecProbe(TaskProbe):
    """Runs a command; its exit status 0 is good. It and what it started are killed when it takes too long."""

    __slots__ = ()

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        done: Done,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        timeout: float,
    ) -> None:
        super().__init__(loop, done)
        self._run(self._check(command, environment, timeout))

    async def _check(self, command: tuple[str, ...], environment: Mapping[str, str], seconds: float) -> None:
        turns = _turns.setdefault(self._loop, asyncio.Semaphore(MOST))
        async with turns:
            self._started = self._loop.time()
            quiet = asyncio.subprocess.DEVNULL
            try:
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=quiet, stdout=quiet, stderr=quiet, env={**os.environ, **environment},
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                self._end(Word.SOCKERR, f"{command[0]}: {error.strerror or error}")
                return
            try:
                async with asyncio.timeout(seconds):
                    await process.wait()
            except TimeoutError:
                pass
            finally:  # cancelled as well
                late = process.returncode is None
                if late:
                    _kill(process)
                    await asyncio.shield(process.wait())
        status = process.returncode
        if late:
            self._end(Word.PROCTOUT, f"still running after {seconds:g} s")
            return
        assert status is not None
        if status == 0:
            self._end(Word.PROCOK)
        elif status < 0:
            self._end(Word.PROCERR, f"ended by signal {-status}")
        else:
            self._end(Word.PROCERR, f"exit status {status}", status)


def _kill(process: asyncio.subprocess.Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has just ended


class PythonProbe(TaskProbe):
    """Awaits a function: None or True is good, False is bad, a text is bad and the reason, as is an exception."""

    __slots__ = ()

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        done: Done,
        function: CheckFunction,
        target: CheckTarget,
        timeout: float,
    ) -> None:
        super().__init__(loop, done)
        self._run(self._check(function, target, timeout))

    async def _check(self, function: CheckFunction, target: CheckTarget, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds) as within:
                result = await function(target)
        except Exception as error:
            if isinstance(error, TimeoutError) and within.expired():
                self._end(Word.PROCTOUT, f"no result within {seconds:g} s")
            else:
                self._end(Word.PROCERR, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
            return
        if result is None or result is True:
            self._end(Word.PROCOK)
        else:
            self._end(Word.PROCERR, result if isinstance(result, str) else "")
