"""HTTP/1 messages as a test sees them: taken apart forgivingly, with every byte kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

END = b"\r\n\r\n"


@dataclass(slots=True)
class Message:
    """Head and body of a message. Field names and values are as sent, decoded as Latin-1."""

    start: str = ""  # the first line
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    raw_head: bytes = b""

    def header(self, name: str) -> str | None:
        """Value of the first field of that name (any case), None when there is none."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        """Values of all fields of that name (any case)."""
        return [v for n, v in self.headers if n.lower() == name.lower()]

    @property
    def chunked(self) -> bool:
        """True when the last transfer coding is chunked."""
        codings = ",".join(self.all("transfer-encoding")).lower().split(",")
        return codings[-1].strip() == "chunked"


@dataclass(slots=True)
class Request(Message):
    """What an origin received."""

    connection: int = 0  # number of the connection, from 0
    complete: bool = True  # false: the connection ended inside the body

    @property
    def method(self) -> str:
        return self.start.split(" ", 1)[0]

    @property
    def target(self) -> str:
        parts = self.start.split(" ")
        return parts[1] if len(parts) > 1 else ""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(slots=True)
class Response(Message):
    """What a client received. `interim` holds the 1xx responses before it."""

    interim: list[Response] = field(default_factory=list)

    @property
    def version(self) -> str:
        return self.start.split(" ", 1)[0]

    @property
    def status(self) -> int:
        return int(self.start.split(" ", 2)[1])

    @property
    def reason(self) -> str:
        parts = self.start.split(" ", 2)
        return parts[2] if len(parts) > 2 else ""


def parse_fields(lines: list[bytes]) -> list[tuple[str, str]]:
    """(name, value) of each 'name: value' line; a line without a colon becomes a name with ''."""
    result = []
    for line in lines:
        name, _, value = line.decode("latin-1").partition(":")
        result.append((name, value.strip(" \t")))
    return result


def fill_head(message: Message, raw: bytes) -> None:
    """Puts the head `raw` (with its empty line) into the message."""
    lines = raw[: -len(END)].split(b"\r\n")
    message.raw_head = raw
    message.start = lines[0].decode("latin-1")
    message.headers = parse_fields(lines[1:])


class Need(Exception):
    """More bytes are needed."""


def take_chunked(data: bytearray) -> tuple[bytes, list[tuple[str, str]], int]:
    """(body, trailers, bytes used) of a complete chunked body at the start of `data`; Need when it is not complete."""
    body = bytearray()
    position = 0

    def line() -> bytes:
        nonlocal position
        end = data.find(b"\r\n", position)
        if end < 0:
            raise Need
        found = bytes(data[position:end])
        position = end + 2
        return found

    while True:
        size = int(line().split(b";", 1)[0], 16)
        if size == 0:
            break
        if len(data) < position + size + 2:
            raise Need
        body += data[position : position + size]
        position += size + 2
    trailers = []
    while last := line():
        trailers.append(last)
    return bytes(body), parse_fields(trailers), position


def has_body(status: int, method: str) -> bool:
    """Whether a response to `method` with that status carries a body (RFC 9112 section 6.3)."""
    return method != "HEAD" and status >= 200 and status not in (204, 304)


def read_body(message: Message, data: bytearray, more: Callable[[], bool], *, until_close: bool) -> bool:
    """Moves the body of `message` from the front of `data` into it. `more()` adds bytes to `data`, false at the end.

    False when the connection ended inside the body; what came is then in `body`. ValueError for a malformed framing.
    """
    if message.chunked:
        while True:
            try:
                message.body, message.trailers, used = take_chunked(data)
            except Need:
                if not more():
                    message.body = bytes(data)
                    data.clear()
                    return False
            else:
                del data[:used]
                return True
    length = message.header("content-length")
    if length is None:
        while until_close and more():
            pass
        if until_close:
            message.body = bytes(data)
            data.clear()
        return True
    while len(data) < int(length):
        if not more():
            message.body = bytes(data)
            data.clear()
            return False
    message.body = bytes(data[: int(length)])
    del data[: int(length)]
    return True
