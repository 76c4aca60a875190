"""One check of one server, on non-blocking sockets and callbacks of the loop.

No task, stream or transport: a check is a connect, a send and a receive, and thousands of them a second must leave the
supervisor idle. Responses are parsed with httptools (llhttp); the verdict is reached at the end of the head.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable

import httptools

from fastlb import __version__
from fastlb.health.verdict import Verdict, Word
from fastlb.spec import Address, HealthCheck

MAX_HEAD = 64 * 1024  # bytes of a response without an end of its head

# Errors of our own: descriptors, memory, local ports. The server is not to blame.
OURS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN}


def request_of(check: HealthCheck, address: Address) -> bytes:
    """The bytes that an HTTP check sends."""
    host = check.host or ("localhost" if address.path else str(address))
    return (
        f"{check.method} {check.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: fastlb/{__version__} health check\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode("latin-1")


class Probe:
    """Runs one check and calls `done(verdict)` once, later; not after `cancel`."""

    __slots__ = (
        "_check",
        "_connected",
        "_done",
        "_loop",
        "_parser",
        "_read",
        "_request",
        "_sock",
        "_started",
        "_timer",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        check: HealthCheck,
        target: tuple[int, tuple[str, int] | str],
        request: bytes,
        done: Callable[[Verdict], None],
    ) -> None:
        self._loop = loop
        self._check = check
        self._request = request
        self._done: Callable[[Verdict], None] | None = done
        self._connected = False
        self._parser: httptools.HttpResponseParser | None = None
        self._read = 0
        self._started = loop.time()
        self._sock: socket.socket | None = None
        self._timer: asyncio.TimerHandle | asyncio.Handle
        try:
            self._sock = sock = socket.socket(
                target[0], socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
            code = sock.connect_ex(target[1])
        except OSError as error:
            self._timer = loop.call_soon(self._end, Word.SOCKERR, error.strerror or str(error))
            return
        if code in (0, errno.EINPROGRESS):
            self._timer = loop.call_later(check.timeout, self._late)
            loop.add_writer(sock.fileno(), self._writable)
        else:
            self._timer = loop.call_soon(self._connect_failed, code)

    def cancel(self) -> None:
        """Ends the check without a verdict. May be repeated."""
        self._done = None
        self._close()

    def _writable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        self._loop.remove_writer(sock.fileno())
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._connect_failed(code)
            return
        self._connected = True
        if self._check.type == "tcp":
            self._end(Word.L4OK)
            return
        try:
            sent = sock.send(self._request, socket.MSG_NOSIGNAL)
        except OSError as error:
            self._end(Word.L7RSP, error.strerror or str(error))
            return
        if sent < len(self._request):  # a fresh connection takes more than any request is long
            self._end(Word.SOCKERR, "the request does not fit the socket's buffer")
            return
        self._parser = httptools.HttpResponseParser(self)
        self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        sock, parser = self._sock, self._parser
        if sock is None or parser is None:
            return
        try:
            data = sock.recv(16384)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(Word.L7RSP, error.strerror or str(error))
            return
        if not data:
            self._end(
                Word.L7RSP, "closed before the end of the response head" if self._read else "closed without a word"
            )
            return
        self._read += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the head is complete: on_headers_complete has judged
        except httptools.HttpParserError as error:
            self._end(Word.L7RSP, str(error) or type(error).__name__)
            return
        if self._read > MAX_HEAD:
            self._end(Word.L7RSP, f"no end of the response head within {MAX_HEAD} bytes")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if self._parser is None:
            return
        code = self._parser.get_status_code()
        if code < 200 and code != 101:
            return  # interim: the final one follows
        if any(low <= code <= high for low, high in self._check.expect):
            self._end(Word.L7OK, "", code)
        else:
            self._end(Word.L7STS, f"status {code}", code)

    def _late(self) -> None:
        if self._connected:
            self._end(Word.L7TOUT, f"no response within {self._check.timeout:g} s")
        else:
            self._end(Word.L4TOUT, f"no connection within {self._check.timeout:g} s")

    def _connect_failed(self, code: int) -> None:
        self._end(Word.SOCKERR if code in OURS else Word.L4CON, os.strerror(code))

    def _end(self, word: Word, info: str = "", code: int = 0) -> None:
        done, self._done = self._done, None
        self._close()
        if done is not None:
            done(Verdict(word, info, code, self._loop.time() - self._started))

    def _close(self) -> None:
        self._timer.cancel()
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_writer(sock.fileno())
            self._loop.remove_reader(sock.fileno())
            sock.close()
