"""Checks by one datagram and the answer to it."""

from __future__ import annotations

import asyncio
import os
import socket

from fastlb.health.probe import MAX_ANSWER, OURS, Done, Probe, Target
from fastlb.health.verdict import Word

HEX = "hex:"


def octets(text: str) -> bytes:
    """What a text of the configuration stands for: its bytes, or those in hexadecimal after 'hex:'."""
    return bytes.fromhex(text[len(HEX) :]) if text.startswith(HEX) else text.encode()


class DatagramProbe(Probe):
    """Sends `send`; good is an answer that holds `receive`, or, where nothing is expected, an answer or silence.

    Bad is an error that ICMP reports (port unreachable), another answer, or none where one is expected.
    """

    __slots__ = ("_receive", "_sock", "_timeout", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        done: Done,
        target: Target,
        timeout: float,
        *,
        send: bytes,
        receive: bytes,
    ) -> None:
        super().__init__(loop, done)
        self._timeout = timeout
        self._receive = receive
        self._sock: socket.socket | None = None
        self._timer: asyncio.TimerHandle | asyncio.Handle
        try:
            self._sock = sock = socket.socket(target[0], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            sock.connect(target[1])
            sock.send(send)
        except OSError as error:
            self._timer = loop.call_soon(self._failed, error)
            return
        self._timer = loop.call_later(timeout, self._late)
        loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        if self._sock is None:
            return
        try:
            data = self._sock.recv(MAX_ANSWER)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(error)
            return
        if self._receive in data:
            self._end(Word.L7OK)
        else:
            shown = data[:32].hex() + ("…" if len(data) > 32 else "")
            self._end(Word.L7RSP, f"answered {len(data)} bytes, in hexadecimal {shown or 'none'}")

    def _failed(self, error: OSError) -> None:
        self._end(
            Word.SOCKERR if error.errno in OURS else Word.L4CON, os.strerror(error.errno) if error.errno else str(error)
        )

    def _late(self) -> None:
        # An error that came in the last moment is one.
        if self._sock is not None and (code := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            self._failed(OSError(code, ""))
        elif self._receive:
            self._end(Word.L7TOUT, f"no answer within {self._timeout:g} s")
        else:
            self._end(Word.L4OK, f"no answer within {self._timeout:g} s, and no error")

    def _close(self) -> None:
        self._timer.cancel()
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            sock.close()
