"""What a scripted origin does with a request: steps to take, and ways to choose among them."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastlb.testing.origin import Exchange


@dataclass(frozen=True, slots=True)
class Send:
    """Sends the bytes as they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Trickle:
    """Sends the bytes `size` at a time, `pause` seconds apart (0: as fast as separate writes go)."""

    data: bytes
    size: int = 1
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Delay:
    """Waits. Where the test can say when to go on, use WaitFor."""

    seconds: float


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Waits until the test sets the event."""

    event: threading.Event


@dataclass(frozen=True, slots=True)
class Hang:
    """Does nothing more, until the peer closes or the origin ends."""


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Ends the sending direction (FIN); goes on reading."""


@dataclass(frozen=True, slots=True)
class Close:
    """Closes the connection, in the middle of whatever it was."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Closes the connection with RST."""


Step = Send | Trickle | Delay | WaitFor | Hang | HalfClose | Close | Reset
Script = Sequence[Step] | Callable[["Exchange"], Awaitable[None]]

Headers = Sequence[tuple[str, str]]


def head(status: int = 200, headers: Headers = (), *, version: str = "HTTP/1.1", reason: str | None = None) -> bytes:
    """A response head with exactly these fields."""
    if reason is None:
        reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    lines = [f"{version} {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def interim(status: int = 100, headers: Headers = ()) -> Send:
    """A 1xx response, to be followed by others."""
    return Send(head(status, headers))


def respond(body: bytes | str = b"", status: int = 200, headers: Headers = (), *, close: bool = False) -> list[Step]:
    """A response with Content-Length; `close` says so and closes after it."""
    data = body.encode() if isinstance(body, str) else body
    fields = [("Content-Length", str(len(data))), *headers]
    if not close:
        return [Send(head(status, fields) + data)]
    return [Send(head(status, [*fields, ("Connection", "close")]) + data), Close()]


def chunked(*chunks: bytes, status: int = 200, headers: Headers = (), trailers: Headers = ()) -> list[Step]:
    """A chunked response, each chunk sent by itself."""
    last = b"0\r\n" + b"".join(f"{n}: {v}\r\n".encode("latin-1") for n, v in trailers) + b"\r\n"
    return [
        Send(head(status, [("Transfer-Encoding", "chunked"), *headers])),
        *(Send(b"%x\r\n%b\r\n" % (len(chunk), chunk)) for chunk in chunks),
        Send(last),
    ]


async def echo(exchange: Exchange) -> None:
    """Answers with the body of the request, and in `X-Head` with its first line."""
    fields = [("Content-Length", str(len(exchange.request.body))), ("X-Head", exchange.request.start)]
    await exchange.send(head(200, fields) + exchange.request.body)


def by_path(scripts: Mapping[str, Script], default: Script | None = None) -> Script:
    """The script of the request's path (without the query); `default`, else 404, where there is none."""

    async def choose(exchange: Exchange) -> None:
        await exchange.play(scripts.get(exchange.request.path, default or respond("no such script", 404)))

    return choose


def in_turn(*scripts: Script) -> Script:
    """The first request gets the first script, and so on; the last one is for all that follow."""
    if not scripts:
        raise ValueError("in_turn needs a script")
    counter = itertools.count()

    async def choose(exchange: Exchange) -> None:
        await exchange.play(scripts[min(next(counter), len(scripts) - 1)])

    return choose


async def wait_event(event: threading.Event) -> None:
    """Waits for an event of threads on a loop."""
    while not event.is_set():  # noqa: ASYNC110 - a thread that waits for it could not be cancelled
        await asyncio.sleep(0.002)
