"""What happened lately: changes of state with their reasons, worker deaths, reloads. A ring in memory, numbered.

Written on the supervisor's loop; readers take what is newer than the number they know, and may wait for more.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

KEPT = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    seq: int  # from 1, without gaps
    at: float  # time.time()
    kind: str  # server | backend | worker | process
    level: str  # info | warning | error
    subject: str  # 'web/web1', 'web', 'worker 0'; '' for the process
    text: str
    old: str = ""  # state before and after, where there is one
    new: str = ""


class Events:
    """The last `kept` events. Not thread-safe."""

    def __init__(self, kept: int = KEPT, *, clock: Callable[[], float] = time.time) -> None:
        self._ring: deque[Event] = deque(maxlen=kept)
        self._clock = clock
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False
        self.last = 0  # number of the newest event, 0 = none yet

    def add(self, kind: str, subject: str, text: str, *, level: str = "info", old: str = "", new: str = "") -> Event:
        """Appends an event and wakes who waits. O(waiting)."""
        self.last += 1
        event = Event(self.last, self._clock(), kind, level, subject, text, old, new)
        self._ring.append(event)
        self._wake()
        return event

    def after(self, seq: int, limit: int = KEPT) -> list[Event]:
        """The oldest `limit` events with a higher number, oldest first; those that left the ring are missing."""
        first = self._ring[0].seq if self._ring else 1
        return list(islice(self._ring, max(0, seq + 1 - first), max(0, seq + 1 - first) + limit))

    def newest(self, limit: int) -> list[Event]:
        """The last `limit` events, newest first."""
        return list(islice(reversed(self._ring), limit))

    async def wait(self, seq: int, within: float) -> bool:
        """Returns when there is an event with a number above `seq`, or `within` seconds are over; false when closed."""
        if self.last <= seq and not self._closed:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                async with asyncio.timeout(within):
                    await waiter
            except TimeoutError:
                pass
            finally:
                self._waiting.discard(waiter)
        return not self._closed

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Lets all who wait go; nobody waits from now on."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()
