"""Questions to engines, wherever they run, and the access log as it is written.

What is asked goes over the workers' channels and off the request path. Lines of the log travel only while somebody
watches: then each worker copies the chunks that it hands to the log's thread, and sends them ten times a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from fastlb.runtime.messages import EndSessions

PATIENCE = 2.0  # seconds that an engine gets to answer
QUEUED = 4 << 20  # bytes of lines that wait for one who watches and does not keep up


class Member(Protocol):
    """An engine that can be asked."""

    @property
    def slot(self) -> int: ...

    def ask(self, what: str | EndSessions, told: Callable[[Any], None]) -> None:
        """Calls `told` once: with the answer to a question of `EngineHost.answer`, or None when nobody is there."""


async def ask_all(members: Sequence[Member], what: str | EndSessions, told: Callable[[int, Any], None]) -> None:
    """Asks all at once; returns when all have told, or after PATIENCE. `told(slot, answer)` is called for each."""
    left = len(members)
    done = asyncio.get_running_loop().create_future()

    def answered(slot: int, value: Any) -> None:
        nonlocal left
        left -= 1
        told(slot, value)
        if left == 0 and not done.done():
            done.set_result(None)

    for member in members:
        member.ask(what, partial(answered, member.slot))
    if left:
        try:
            async with asyncio.timeout(PATIENCE):
                await done
        except TimeoutError:
            pass


class LogTail:
    """The access logs of all members as they are written, for any number of watchers."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._watches: set[Watch] = set()

    async def watch(self) -> tuple[Watch, dict[int, bytes | None]]:
        """A watch that gets every line from now on, and the last lines before, by slot (None = the log is off)."""
        watch = Watch(self)
        before: dict[int, bytes | None] = {}

        def told(slot: int, value: Any) -> None:
            # Lines that a worker sent before its answer are in it already; those behind it are new.
            before[slot] = value
            watch.joined.add(slot)

        self._watches.add(watch)
        try:
            await ask_all(self._members, "watch", told)
        except BaseException:
            watch.close()
            raise
        return watch, before

    async def recent(self) -> dict[int, bytes | None]:
        """The last lines, by slot."""
        found: dict[int, bytes | None] = {}
        await ask_all(self._members, "recent", found.__setitem__)
        return found

    def feed(self, slot: int, lines: bytes, lost: int) -> None:
        """Lines of a member."""
        for watch in self._watches:
            watch.feed(slot, lines, lost)

    def joined(self, member: Member) -> None:
        """A member begins to work (again): what it wrote until it hears of the watch is news as well."""
        there = list(self._watches)

        def told(value: Any) -> None:
            for watch in there:
                watch.joined.add(member.slot)
                watch.feed(member.slot, value or b"", 0)

        if there:
            member.ask("watch", told)

    def leave(self, watch: Watch) -> None:
        """Ends a watch; the last one has the members stop copying."""
        self._watches.discard(watch)
        if not self._watches:
            for member in self._members:
                member.ask("unwatch", lambda value: None)


class Watch:
    """What one watcher has not read yet. Close it."""

    def __init__(self, tail: LogTail) -> None:
        self._tail = tail
        self._queue: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._lost = 0
        self._news = asyncio.Event()
        self.joined: set[int] = set()

    def feed(self, slot: int, lines: bytes, lost: int) -> None:
        """Takes lines of a member, or counts them as lost where too many wait."""
        if slot not in self.joined:
            return
        self._lost += lost
        if self._size + len(lines) > QUEUED:
            self._lost += lines.count(b"\n")
        elif lines:
            self._queue.append((slot, lines))
            self._size += len(lines)
        self._news.set()

    async def next(self, within: float) -> tuple[list[tuple[int, bytes]], int]:
        """What has come, (slot, whole lines), and how many lines were lost; waits `within` seconds for it."""
        if not self._queue and not self._lost:
            self._news.clear()
            try:
                async with asyncio.timeout(within):
                    await self._news.wait()
            except TimeoutError:
                pass
        news, lost = list(self._queue), self._lost
        self._queue.clear()
        self._size = self._lost = 0
        return news, lost

    def close(self) -> None:
        """May be repeated."""
        self._tail.leave(self)
