"""Posts events to a URL: what happened, in the order in which it happened, again until somebody takes it.

The ring of events is the queue: while the receiver is away nothing more than a number is kept, and what has left the
ring by the time it is back is counted as missed.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastlb import __version__
from fastlb.control.events import Event, Events

log = logging.getLogger("fastlb.runtime")

TIMEOUT = 10.0  # seconds for a whole request
BATCH = 100  # events in one
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts
LEVELS = {"debug": 0, "info": 1, "warning": 2, "error": 3}

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: |\r)")


class Refused(Exception):
    """The receiver answered that it will not take this, now or later."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where events are posted; `level` is the lowest one that is."""

    url: str
    level: str = "info"


class Webhook:
    """The poster of one program. Needs a running loop; `point` may be called again, `close` ends it."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._receiver: Receiver | None = None
        self._task: asyncio.Task[None] | None = None
        self.delivered = 0  # events
        self.missed = 0

    def point(self, receiver: Receiver | None) -> None:
        """Posts to `receiver` from now on what happens from now on; None: to nobody."""
        if receiver == self._receiver:
            return
        if self._task is not None:
            self._task.cancel()
        self._receiver, self._task = receiver, None
        if receiver is not None:
            self._task = asyncio.get_running_loop().create_task(self._run(receiver, self._events.last))

    async def close(self) -> None:
        """What has not been posted by now is not."""
        task, self._task, self._receiver = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, receiver: Receiver, seen: int) -> None:
        pause, failing = FIRST_PAUSE, False
        missed = 0
        least = LEVELS[receiver.level]
        while await self._events.wait(seen, 3600.0):
            news = self._events.after(seen, BATCH)
            if not news:
                continue
            if news[0].seq > seen + 1:
                missed += news[0].seq - seen - 1
                seen = news[0].seq - 1
            wanted = [event for event in news if LEVELS[event.level] >= least]
            if wanted:
                try:
                    async with asyncio.timeout(TIMEOUT):
                        await post(receiver.url, _body(wanted, missed))
                except Refused as error:
                    log.warning("webhook: %d events were refused: %s", len(wanted), error)
                except (OSError, asyncio.IncompleteReadError) as error:  # TimeoutError and SSLError too
                    if not failing:  # once
                        log.warning("webhook: %s; tried again until it works", _reason(error))
                    failing = True
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
                    continue
                else:
                    self.delivered += len(wanted)
                    if failing:
                        log.info("webhook: events are taken again")
            self.missed += missed
            pause, failing, missed = FIRST_PAUSE, False, 0
            seen = news[-1].seq


def _body(events: Sequence[Event], missed: int) -> bytes:
    """One JSON object; `text` is what chat programs show of it."""
    return json.dumps(
        {
            "text": "\n".join(_line(event) for event in events),
            "program": "fastlb",
            "version": __version__,
            "host": socket.gethostname(),
            "missed": missed,
            "events": [
                {
                    "seq": e.seq, "at": datetime.datetime.fromtimestamp(e.at, datetime.UTC).isoformat(), "kind": e.kind,
                    "level": e.level, "subject": e.subject, "text": e.text, "old": e.old, "new": e.new,
                }
                for e in events
            ],
        }
    ).encode()  # fmt: skip


def _line(event: Event) -> str:
    what = f"{event.kind} {event.subject}".strip()
    turn = f" is {event.new}" if event.new else ""
    return f"{what}{turn}: {event.text}"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    if isinstance(error, asyncio.IncompleteReadError):
        return "closed without an answer"
    return str(error)


async def post(url: str, body: bytes) -> None:
    """One POST of JSON. Raises OSError or IncompleteReadError for what may pass, `Refused` for what will not."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    context = ssl.create_default_context() if secure else None
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write(
            f"POST {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nUser-Agent: fastlb/{__version__}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode(
                "ascii"
            )
            + body
        )
        await writer.drain()
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            match = _STATUS.match(head)
            if match is None:
                raise Refused("the answer is no HTTP")
            status = int(match[1])
            if status >= 200:
                break
    except asyncio.LimitOverrunError:
        raise Refused("the answer's head has no end") from None
    finally:
        writer.close()
    if 200 <= status < 300:
        return
    if status in (408, 425, 429) or status >= 500:
        raise OSError(f"it answered {status}")
    raise Refused(f"it answered {status}")
