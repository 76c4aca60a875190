"""A client that sends bytes, exactly the given ones, and reads what comes back."""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import Self

from fastlb.testing.background import Address, connect_to, reset
from fastlb.testing.message import END, Response, fill_head, has_body, read_body


class ConnectionEnded(AssertionError):
    """The connection ended before what was waited for. `received` is what had come; `was_reset` tells how it ended."""

    def __init__(self, text: str, received: bytes, *, was_reset: bool) -> None:
        super().__init__(f"{text}; received {received[:200]!r}")
        self.received = received
        self.was_reset = was_reset


class RawClient:
    """A blocking connection. Every wait is bounded by `timeout` seconds and ends in TimeoutError."""

    def __init__(self, address: Address, *, timeout: float = 10.0) -> None:
        self._sock = connect_to(address, timeout)
        self._data = bytearray()
        self.was_reset = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def local(self) -> tuple[str, int]:
        """The client's own address."""
        host, port = self._sock.getsockname()[:2]
        return str(host), int(port)

    def send(self, data: bytes | str) -> None:
        """Sends the bytes (text as Latin-1) as they are."""
        self._sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def trickle(self, data: bytes | str, size: int = 1, pause: float = 0.0) -> None:
        """Sends `size` bytes at a time, `pause` seconds apart."""
        raw = data.encode("latin-1") if isinstance(data, str) else data
        for start in range(0, len(raw), size):
            self._sock.sendall(raw[start : start + size])
            if pause:
                time.sleep(pause)

    def request(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]] | None = None,
        body: bytes = b"",
        *,
        host: str = "test",
        version: str = "HTTP/1.1",
    ) -> Response:
        """Sends a request (Host first, Content-Length when there is a body) and reads its response."""
        lines = [f"{method} {target} {version}", f"Host: {host}", *(f"{n}: {v}" for n, v in headers or [])]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode("latin-1") + END + body)
        return self.response(method)

    def get(self, target: str = "/", headers: list[tuple[str, str]] | None = None) -> Response:
        """GET and its response."""
        return self.request("GET", target, headers)

    def response(self, method: str = "GET", *, to_the_end: bool = True) -> Response:
        """The next response, its body whole, with the 1xx before it in `interim`.

        ConnectionEnded when it is cut off. `to_the_end` false returns after the head of the final response.
        """
        before: list[Response] = []
        while True:
            response = Response()
            fill_head(response, self.read_until(END))
            if response.status >= 200 or response.status == 101:
                break
            before.append(response)
        response.interim = before
        if (
            to_the_end
            and has_body(response.status, method)
            and not read_body(response, self._data, self._more, until_close=True)
        ):
            raise ConnectionEnded("the response is cut off", response.body, was_reset=self.was_reset)
        if self.was_reset and response.header("content-length") is None and not response.chunked:
            raise ConnectionEnded("reset instead of closed", response.body, was_reset=True)
        return response

    def read_until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`."""
        while (at := self._data.find(mark)) < 0:
            if not self._more():
                raise ConnectionEnded(f"ended before {mark!r}", bytes(self._data), was_reset=self.was_reset)
        found = bytes(self._data[: at + len(mark)])
        del self._data[: at + len(mark)]
        return found

    def read_exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        while len(self._data) < count:
            if not self._more():
                raise ConnectionEnded(f"ended before {count} bytes", bytes(self._data), was_reset=self.was_reset)
        found = bytes(self._data[:count])
        del self._data[:count]
        return found

    def read_all(self) -> bytes:
        """Everything until the connection ends; `was_reset` tells how it did."""
        while self._more():
            pass
        found = bytes(self._data)
        self._data.clear()
        return found

    def at_end(self) -> bool:
        """Waits for the end of the connection; false when bytes come instead."""
        return not self._data and not self._more()

    def is_quiet(self, seconds: float = 0.2) -> bool:
        """True when for so long nothing comes and the connection does not end."""
        if self._data:
            return False
        before = self._sock.gettimeout()
        self._sock.settimeout(seconds)
        try:
            self._more()
        except TimeoutError:
            return True
        finally:
            self._sock.settimeout(before)
        return False

    def half_close(self) -> None:
        """Ends the sending direction."""
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Closes with RST."""
        reset(self._sock)

    def close(self) -> None:
        """Closes. May be repeated."""
        self._sock.close()

    def _more(self) -> bool:
        if self.was_reset:
            return False
        try:
            data = self._sock.recv(262144)
        except (ConnectionResetError, BrokenPipeError):
            self.was_reset = True
            return False
        self._data += data
        return bool(data)
