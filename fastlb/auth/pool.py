"""Threads for work that is slow on purpose: few, and with a bounded number of jobs before them."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger("fastlb.auth")
T = TypeVar("T")


class Threads:
    """At most `threads` of them, begun as they are needed, and `most` jobs that wait or run. For one loop."""

    def __init__(self, name: str, threads: int, most: int, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._name = name
        self._threads = threads
        self._most = most
        self._loop = loop
        self._begun = 0
        self._pending = 0
        self._closed = False
        self._jobs: queue.SimpleQueue[tuple[Callable[[], object], Callable[[object], None]] | None] = (
            queue.SimpleQueue()
        )

    @property
    def pending(self) -> int:
        """Jobs that are not done yet."""
        return self._pending

    def submit(self, job: Callable[[], T], done: Callable[[T], None]) -> bool:
        """Has `done(job())` called on the loop; False when too many jobs wait. `job` must not raise."""
        if self._pending >= self._most or self._closed:
            return False
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._pending += 1
        self._jobs.put((job, done))  # type: ignore[arg-type]
        if self._begun < self._threads and self._begun < self._pending:
            self._begun += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._begun}", daemon=True).start()
        return True

    def close(self) -> None:
        """The threads end behind the last job."""
        if not self._closed:
            self._closed = True
            for _ in range(self._begun):
                self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, done = job
            found: object = None
            try:
                found = work()
            except Exception:
                log.exception("a verification failed")
                done = _nobody  # its request waits to the end of its patience and gets 503
            try:
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._done, done, found)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def later(self, done: Callable[[T], None], found: T) -> bool:
        """Has `done(found)` called on the loop, without a thread."""
        asyncio.get_running_loop().call_soon(done, found)
        return True

    def _done(self, done: Callable[[object], None], found: object) -> None:
        self._pending -= 1
        done(found)


def _nobody(found: object) -> None:
    pass
