"""Checks over a socket, on non-blocking sockets and callbacks of the loop.

No task, stream or transport: a check is a connect, a send and a receive, and thousands of them a second must leave the
supervisor idle.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable

from fastlb.health.verdict import Verdict, Word

MAX_ANSWER = 64 * 1024  # bytes of an answer that are looked at

# Errors of our own: descriptors, memory, local ports. The server is not to blame.
OURS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN}

Target = tuple[int, tuple[str, int] | str]  # family, socket address
Done = Callable[[Verdict], None]


class Probe:
    """One check of one server, under way. Calls `done(verdict)` once, later; not after `cancel`."""

    __slots__ = ("_done", "_loop", "_started")

    def __init__(self, loop: asyncio.AbstractEventLoop, done: Done) -> None:
        self._loop = loop
        self._done: Done | None = done
        self._started = loop.time()

    def cancel(self) -> None:
        """Ends the check without a verdict. May be repeated."""
        self._done = None
        self._close()

    def _end(self, word: Word, info: str = "", code: int = 0, text: str = "") -> None:
        done, self._done = self._done, None
        self._close()
        if done is not None:
            done(Verdict(word, info, code, self._loop.time() - self._started, text))

    def _close(self) -> None:
        raise NotImplementedError


class SocketProbe(Probe):
    """Connects, with TLS where there is a context; what then is up to `_talk` and `_take`."""

    __slots__ = ("_context", "_name", "_secure", "_sock", "_stage", "_timeout", "_timer", "preface")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        done: Done,
        target: Target,
        timeout: float,
        context: ssl.SSLContext | None = None,
        name: str | None = None,
    ) -> None:
        """`timeout` is for the whole of it; `name` is what the server's certificate must be for."""
        super().__init__(loop, done)
        self._timeout = timeout
        self._context = context
        self._name = name
        self._stage = 4  # the layer at work: 4, 6 or 7
        self.preface = b""  # sent first, before TLS; may be set until the loop goes on
        self._secure: ssl.SSLSocket | None = None
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
            self._timer = loop.call_later(timeout, self._late)
            loop.add_writer(sock.fileno(), self._writable)
        else:
            self._timer = loop.call_soon(self._connect_failed, code)

    # --- what a kind of check fills in

    def _talk(self) -> None:
        """Connected: sends with `_send`, or ends."""
        self._end(Word.L6OK if self._secure is not None else Word.L4OK)

    def _take(self, data: bytes) -> None:
        """Bytes of the answer; b'' at its end, which must end the check."""
        raise NotImplementedError

    # --- connecting

    def _writable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._connect_failed(code)
            return
        if self.preface:
            try:
                sock.send(self.preface, socket.MSG_NOSIGNAL)
            except OSError as error:
                self._end(Word.L4CON, _text(error))
                return
        if self._context is None:
            self._stage = 7
            self._talk()
        else:
            self._loop.remove_writer(sock.fileno())
            self._begin_tls(sock, self._context)
        if self._sock is sock:  # last: while it has a reader too, the loop keeps what it has made for it
            self._loop.remove_writer(sock.fileno())

    def _begin_tls(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._stage = 6
        try:
            self._secure = context.wrap_socket(sock, server_hostname=self._name, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            self._end(Word.SOCKERR, str(error))
            return
        self._sock = self._secure
        self._shake_hands()

    def _shake_hands(self) -> None:
        secure = self._secure
        if secure is None or self._sock is None:
            return
        number = secure.fileno()
        self._loop.remove_reader(number)
        self._loop.remove_writer(number)
        try:
            secure.do_handshake()
        except ssl.SSLWantReadError:
            self._loop.add_reader(number, self._shake_hands)
        except ssl.SSLWantWriteError:
            self._loop.add_writer(number, self._shake_hands)
        except ssl.SSLCertVerificationError as error:
            self._end(Word.L6RSP, f"certificate: {error.verify_message}")
        except OSError as error:  # SSLError too
            self._end(Word.L6RSP, _text(error) or "closed in the handshake")
        else:
            self._stage = 7
            self._talk()

    # --- talking

    def _send(self, data: bytes) -> None:
        """Sends a request and waits for the answer. A fresh connection takes more at once than any request is long."""
        sock = self._sock
        if sock is None:
            return
        try:
            sent = sock.send(data) if self._secure is not None else sock.send(data, socket.MSG_NOSIGNAL)
        except OSError as error:
            self._end(Word.L7RSP, _text(error))
            return
        if sent < len(data):
            self._end(Word.SOCKERR, "the request does not fit the socket's buffer")
            return
        self._loop.add_reader(sock.fileno(), self._readable)

    def _listen(self) -> None:
        """Waits for what the server says by itself."""
        if self._sock is not None:
            self._loop.add_reader(self._sock.fileno(), self._readable)

    def _readable(self) -> None:
        while self._sock is not None:
            try:
                data = self._sock.recv(16384)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
                return
            except ssl.SSLEOFError:  # without a closing alert, as many servers end
                data = b""
            except OSError as error:
                self._end(Word.L7RSP, _text(error))
                return
            self._take(data)
            if self._secure is None:
                return  # what is left is reported again; of TLS records only the socket is

    def _late(self) -> None:
        within = f"within {self._timeout:g} s"
        if self._stage == 7:
            self._end(Word.L7TOUT, f"no response {within}")
        elif self._stage == 6:
            self._end(Word.L6TOUT, f"no TLS handshake {within}")
        else:
            self._end(Word.L4TOUT, f"no connection {within}")

    def _connect_failed(self, code: int) -> None:
        self._end(Word.SOCKERR if code in OURS else Word.L4CON, os.strerror(code))

    def _close(self) -> None:
        self._timer.cancel()
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_writer(sock.fileno())
            self._loop.remove_reader(sock.fileno())
            sock.close()


class TextProbe(SocketProbe):
    """Connects, sends `send` if there is something, and waits until `receive` is in the answer."""

    __slots__ = ("_answer", "_receive", "_said")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        done: Done,
        target: Target,
        timeout: float,
        context: ssl.SSLContext | None = None,
        name: str | None = None,
        *,
        send: bytes,
        receive: bytes,
    ) -> None:
        self._said = send
        self._receive = receive
        self._answer = b""
        super().__init__(loop, done, target, timeout, context, name)

    def _talk(self) -> None:
        if self._said:
            self._send(self._said)
        else:
            self._listen()
        if not self._receive:
            self._end(Word.L7OK)

    def _take(self, data: bytes) -> None:
        self._answer += data
        if self._receive in self._answer:
            self._end(Word.L7OK)
        elif not data:
            what = "closed without a word" if not self._answer else f"answered {_shown(self._answer)}"
            self._end(Word.L7RSP, what)
        elif len(self._answer) > MAX_ANSWER:
            self._end(Word.L7RSP, f"not what is expected within {MAX_ANSWER} bytes")


class LineProbe(SocketProbe):
    """Connects, sends `send` if there is something, and takes the first line (the verdict's `text`)."""

    __slots__ = ("_answer", "_said")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, done: Done, target: Target, timeout: float, *, send: bytes
    ) -> None:
        self._said = send
        self._answer = b""
        super().__init__(loop, done, target, timeout)

    def _talk(self) -> None:
        if self._said:
            self._send(self._said)
        else:
            self._listen()

    def _take(self, data: bytes) -> None:
        self._answer += data
        line = self._answer.replace(b"\r", b"\n").partition(b"\n")
        if line[1] or (not data and self._answer):
            self._end(Word.L7OK, text=line[0].decode("utf-8", "replace"))
        elif not data:
            self._end(Word.L7RSP, "closed without a word")
        elif len(self._answer) > 4096:
            self._end(Word.L7RSP, "no end of the line within 4096 bytes")


def _text(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "").replace("_", " ").lower() or str(error)
    return error.strerror or str(error)


def _shown(data: bytes) -> str:
    text = data[:60].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "." for c in text)
