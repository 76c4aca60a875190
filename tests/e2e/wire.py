"""Both ends of a connection, byte by byte: a raw client, and an origin whose every step the test takes itself.

Everything blocks with a deadline and nothing runs in the background: a test plays client and server in turn, so the
order of events is the one it states. Messages are read by a small reader of its own that accepts only what RFC 9112
allows; it shares no code with the parser under test.
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.helpers import SLOWNESS

PATIENCE = 5.0 * SLOWNESS
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\Z")


_open: list[socket.socket] = []


def close_all() -> None:
    """Closes every socket that was made here."""
    while _open:
        _open.pop().close()


class BrokenOff(AssertionError):
    """The connection ended inside a message. `reset`: with RST instead of FIN."""

    def __init__(self, got: bytes, *, reset: bool) -> None:
        super().__init__(f"connection {'reset' if reset else 'closed'} inside a message, after {got[-200:]!r}")
        self.got = got
        self.reset = reset


@dataclass
class Message:
    """A request or response as it stood on the wire. Field names are lower case."""

    start: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    framing: str = "none"  # none | length | chunked | close
    chunks: list[bytes] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name.lower()]

    def get(self, name: str) -> str | None:
        """Value of a field that stands there at most once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands {len(values)} times: {values}"
        return values[0] if values else None

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def target(self) -> str:
        return self.start.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    @property
    def text(self) -> str:
        return self.body.decode()


class Wire:
    """One TCP connection."""

    def __init__(self, sock: socket.socket, *, keep: bool = False) -> None:
        self.sock = sock
        self.held = b""  # received, not used yet
        if not keep:
            _open.append(sock)
        sock.settimeout(PATIENCE)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # --- sending

    def send(self, *parts: bytes | str) -> Self:
        self.sock.sendall(b"".join(p.encode("latin-1") if isinstance(p, str) else p for p in parts))
        return self

    def get(self, target: str = "/", *lines: str, version: str = "1.1", method: str = "GET") -> Self:
        """Sends a request without a body; `lines` are further header lines."""
        return self.send(f"{method} {target} HTTP/{version}\r\n", "Host: x\r\n", *(f"{x}\r\n" for x in lines), "\r\n")

    def post(self, target: str, body: bytes, *lines: str) -> Self:
        """Sends a request with Content-Length and body in one piece."""
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        return self.send(head, *(f"{x}\r\n" for x in lines), "\r\n", body)

    def answer(self, body: bytes | str = b"", *lines: str, status: str = "200 OK") -> Self:
        """Sends a response with Content-Length."""
        raw = body.encode() if isinstance(body, str) else body
        return self.send(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(raw)}\r\n", *(f"{x}\r\n" for x in lines), "\r\n", raw
        )

    # --- receiving

    def _more(self) -> bool:
        try:
            got = self.sock.recv(262144)
        except ConnectionResetError:
            raise BrokenOff(self.held, reset=True) from None
        except TimeoutError:
            raise AssertionError(f"nothing came within {PATIENCE:g} s after {self.held[-300:]!r}") from None
        self.held += got
        return bool(got)

    def exactly(self, n: int) -> bytes:
        """The next n bytes."""
        parts = [self.held[:n]]
        self.held = self.held[n:]
        have = len(parts[0])
        while have < n:
            if not self._more():
                raise BrokenOff(b"".join(parts), reset=False)
            parts.append(self.held[: n - have])
            self.held = self.held[n - have :]
            have += len(parts[-1])
        return b"".join(parts)

    def until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`."""
        while mark not in self.held:
            if not self._more():
                raise BrokenOff(self.held, reset=False)
        got, _, self.held = self.held.partition(mark)
        return got + mark

    def rest(self) -> bytes:
        """Everything until the other side closes its direction in an orderly way."""
        while self._more():
            pass
        got, self.held = self.held, b""
        return got

    def head(self) -> Message:
        lines = self.until(b"\r\n\r\n")[:-4].split(b"\r\n")
        for line in lines:
            assert b"\r" not in line and b"\n" not in line and b"\0" not in line, line
        return Message(lines[0].decode("latin-1"), [_field(x) for x in lines[1:]])

    def _chunks(self, m: Message) -> None:
        while True:
            size = re.fullmatch(rb"([0-9A-Fa-f]+)(;[^\r\n]*)?\r\n", self.until(b"\r\n"))
            assert size, f"bad chunk size in {m}"
            n = int(size[1], 16)
            if n == 0:
                break
            m.chunks.append(self.exactly(n))
            assert self.exactly(2) == b"\r\n"
        while (line := self.until(b"\r\n")) != b"\r\n":
            m.trailers.append(_field(line[:-2]))
        m.body = b"".join(m.chunks)

    def _body(self, m: Message, *, until_close: bool) -> Message:
        coding = m.all("transfer-encoding")
        length = m.all("content-length")
        assert len(coding) + len(length) <= 1, f"two framings: {m}"
        if coding:
            assert coding[0].lower() == "chunked", m
            m.framing = "chunked"
            self._chunks(m)
        elif length:
            m.framing = "length"
            m.body = self.exactly(int(length[0]))
        elif until_close:
            m.framing = "close"
            m.body = self.rest()
        return m

    def request(self) -> Message:
        """The next request, body included."""
        m = self.head()
        assert re.fullmatch(r"\S+ \S+ HTTP/1\.[01]", m.start), m.start
        assert _TOKEN.match(m.method.encode()), m.start
        return self._body(m, until_close=False)

    def response(self, method: str = "GET") -> Message:
        """The next response, interim ones included, with its body if the answer to `method` has one."""
        m = self.head()
        assert re.fullmatch(r"HTTP/1\.[01] [1-5]\d\d .*", m.start), m.start
        if m.status < 200 or m.status in (204, 304) or method == "HEAD":
            return m
        return self._body(m, until_close=True)

    def ended(self) -> str:
        """Waits for the other side to close: "fin" or "reset". Bytes that come before are a failure."""
        assert not self.held, f"unread bytes: {self.held[:300]!r}"
        try:
            got = self.sock.recv(4096)
        except ConnectionResetError:
            return "reset"
        assert not got, f"bytes instead of the end: {got[:300]!r}"
        return "fin"

    def silent(self, seconds: float = 0.15) -> bool:
        """Nothing comes for so long. Only to show that something is held back."""
        if self.held:
            return False
        self.sock.settimeout(seconds)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
            return False
        except (TimeoutError, BlockingIOError):
            return True
        except ConnectionResetError:
            return False
        finally:
            self.sock.settimeout(PATIENCE)

    # --- leaving

    def finish(self) -> Self:
        """Half-close: sends FIN, still reads."""
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Closes with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _field(line: bytes) -> tuple[str, str]:
    match = _FIELD.match(line)
    assert match, f"not a header line: {line!r}"
    return match[1].decode().lower(), match[2].decode("latin-1")


def dial(address: tuple[str, int], *, receive_buffer: int = 0, source: str = "") -> Wire:
    """A new connection; a small receive buffer makes a slow reader."""
    sock = socket.socket()
    sock.settimeout(PATIENCE)
    if source:
        sock.bind((source, 0))
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return Wire(sock)


class Origin:
    """A server played by the test: it accepts, reads and answers only when told to."""

    def __init__(self, *, receive_buffer: int = 0, keep: bool = False) -> None:
        self._receive_buffer = receive_buffer
        self._keep = keep  # longer than the test
        self.where = ("127.0.0.1", 0)
        self.open()

    def open(self) -> None:
        """Listens (again, on the same port)."""
        self.sock = socket.socket()
        if not self._keep:
            _open.append(self.sock)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self.sock.bind(self.where)
        self.where = self.sock.getsockname()
        self.sock.listen(256)
        self.sock.settimeout(PATIENCE)

    def shut(self) -> None:
        """Stops listening: connections are refused."""
        self.sock.close()

    @property
    def address(self) -> str:
        return f"{self.where[0]}:{self.where[1]}"

    def accept(self) -> Wire:
        """The next connection."""
        try:
            sock, _ = self.sock.accept()
        except TimeoutError:
            raise AssertionError(f"no connection to {self.address} within {PATIENCE:g} s") from None
        return Wire(sock)

    def request(self) -> tuple[Wire, Message]:
        """The next connection and the first request on it."""
        wire = self.accept()
        return wire, wire.request()

    def forget(self) -> None:
        """Closes what nobody accepted."""
        while not self.untouched():
            pass

    def untouched(self) -> bool:
        """No connection waits to be accepted."""
        self.sock.setblocking(False)
        try:
            Wire(self.sock.accept()[0])
        except BlockingIOError:
            return True
        finally:
            self.sock.settimeout(PATIENCE)
        return False
