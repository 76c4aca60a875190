"""Spans of finished requests on their way to a collector: a bounded queue and the thread that empties it.

Workers send records ten times a second; they wait here as they came. The thread makes spans of them and posts these, so
that a collector that is slow, or gone, costs nothing but what finds no room, which is counted.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import struct
import threading
import time
from collections import deque
from typing import Any

from fastlb.control.events import Events
from fastlb.errors import ConfigError, Problem
from fastlb.spec import Spec, Tracing

log = logging.getLogger("fastlb.runtime")

BATCH = 512  # spans of a post
LAST_WORDS = 3.0  # seconds that the collector gets at the end for what waits still
SILENCE = 60.0  # seconds between two words about spans that found no room
GATHER = 0.5  # seconds that spans wait for others

_SIZE = struct.Struct("<I")


class Spans:
    """Of one program. `apply` may be called again; `close` ends it. All but the thread's part on the loop's thread."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._tracing = Tracing()
        self._sender: _Sender | None = None
        self._crowded = 0  # spans without room that nobody was told of
        self._say_crowded_at = 0.0
        self.exported = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Spans that the collector has not taken yet."""
        return self._sender.waiting if self._sender is not None else 0

    def plan(self, spec: Spec) -> Any:
        """An exporter for `spec`, None where there is none to make. Raises ConfigError."""
        tracing = spec.tracing
        if not tracing.endpoint or (self._sender is not None and _same(tracing, self._tracing)):
            return None
        try:
            otlp = importlib.import_module("fastlb.runtime.otlp")
        except ImportError as error:
            reason = f"needs OpenTelemetry's exporter: pip install 'fastlb[tracing]' ({error})"
            raise ConfigError([Problem("tracing.endpoint", tracing.endpoint, reason, file=spec.source)]) from error
        return otlp.Exporter(tracing)

    def apply(self, spec: Spec, exporter: Any) -> None:
        """Goes on with this configuration, and what `plan` made for it. What waits is posted where it was meant to."""
        before, self._tracing = self._tracing, spec.tracing
        if self._sender is not None and not _same(before, spec.tracing):
            self._sender.end()
            self._sender = None
        if exporter is not None:
            self._sender = _Sender(self, exporter, spec.tracing)

    def feed(self, records: bytes, count: int, lost: int) -> None:
        """Takes spans of a worker, as `SpanBuffer.take` gave them, or counts them as dropped where too many wait."""
        if self._sender is not None:
            lost += count - self._sender.take(records, count)
        else:  # of a worker that has not heard yet that spans are off
            self.dropped += count
        self.dropped += lost
        self._crowded += lost
        now = time.monotonic()
        if self._crowded and now >= self._say_crowded_at:
            self.say("warning", f"spans are dropped: {self._crowded} found no room in the queue or in a worker")
            self._crowded, self._say_crowded_at = 0, now + SILENCE

    async def close(self) -> None:
        """What the collector does not take within LAST_WORDS is dropped."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.end()
            await asyncio.to_thread(sender.wait, LAST_WORDS)
            await asyncio.sleep(0)  # what the thread has told last is counted

    def told(self, sent: int, lost: int) -> None:
        """Of the thread: what came of a post."""
        self.exported += sent
        self.dropped += lost

    def say(self, level: str, text: str) -> None:
        """Of the thread: whether the collector takes spans has changed."""
        log.log(logging.WARNING if level == "warning" else logging.INFO, "%s", text)
        self._events.add("process", "tracing", text, level=level)


class _Sender:
    """The thread, and its queue."""

    def __init__(self, spans: Spans, exporter: Any, tracing: Tracing) -> None:
        self._spans = spans
        self._exporter = exporter
        self._tracing = tracing
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[bytes, int]] = deque()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._ending = threading.Event()
        self._failing = False
        self._lost = 0  # since the collector stopped taking
        self.waiting = 0
        self._thread = threading.Thread(target=self._run, name="fastlb-spans", daemon=True)
        self._thread.start()

    def take(self, records: bytes, count: int) -> int:
        """How many found room."""
        with self._lock:
            room = self._tracing.queue - self.waiting
            if count > room:
                records, count = records[: _after(records, room)], room
            if count:
                self.waiting += count
                self._queue.append((records, count))
        if count:
            self._news.set()
        return count

    def end(self) -> None:
        """Has the thread post what waits, and end."""
        self._ending.set()
        self._news.set()

    def wait(self, seconds: float) -> None:
        """Until it has ended; what it has not posted by then is dropped."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._exporter.give_up()
            self._thread.join(1.0)

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            self._ending.wait(GATHER)
            ending = self._ending.is_set()
            while self._post(ending):
                pass
            if ending:
                return

    def _post(self, ending: bool) -> bool:
        """Posts a batch; false when nothing waits."""
        records, count = self._next()
        if not count:
            return False
        try:
            why = self._exporter.send(records)
        except Exception as error:  # of the library: it must not end the thread
            why = f"{type(error).__name__}: {error}"
        with self._lock:
            self.waiting -= count
        self._tell(self._spans.told, *((0, count) if why else (count, 0)))
        self._lost += count if why else 0
        if why and not self._failing:
            self._failing = True
            self._tell(self._spans.say, "warning", f"{self._tracing.endpoint} does not take spans: {why}")
        elif not why and self._failing:
            self._failing, lost, self._lost = False, self._lost, 0
            self._tell(self._spans.say, "info", f"{self._tracing.endpoint} takes spans again; {lost} posted in vain")
        # At the end one failure is enough: everybody waits.
        return not (why and (ending or self._ending.is_set()))

    def _next(self) -> tuple[bytes, int]:
        """Up to BATCH spans; a worker's chunk is cut where it holds more."""
        pieces, total = [], 0
        with self._lock:
            while self._queue and total < BATCH:
                records, count = self._queue.popleft()
                room = BATCH - total
                if count > room:
                    at = _after(records, room)
                    self._queue.appendleft((records[at:], count - room))
                    records, count = records[:at], room
                pieces.append(records)
                total += count
        return b"".join(pieces), total

    def _tell(self, what: Any, *values: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *values)
        except RuntimeError:  # the loop has ended meanwhile, and nobody wants to know
            pass


def _after(records: bytes, count: int) -> int:
    """Where the record behind the first `count` begins."""
    at = 0
    for _ in range(count):
        at += _SIZE.unpack_from(records, at)[0]
    return at


def _same(one: Tracing, other: Tracing) -> bool:
    return (one.endpoint, one.headers, one.service, one.timeout, one.queue) == (
        other.endpoint, other.headers, other.service, other.timeout, other.queue,
    )  # fmt: skip
