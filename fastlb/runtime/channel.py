"""Messages with descriptors over a Unix stream socket pair.

Frame: payload length (uint32) and number of descriptors (uint16), little endian, then the payload, a pickle. The
descriptors travel by SCM_RIGHTS with the first byte of the frame. Both ends are processes of one fastlb, but a worker
reads what strangers send, and the supervisor may have more rights than it: so the unpickler makes nothing but the
classes of the protocol.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import io
import operator
import os
import pickle
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from fastlb import spec
from fastlb.control.slots import Assignment
from fastlb.control.stick_tables import Run
from fastlb.runtime import messages

HEADER = struct.Struct("<IH")
MAX_FDS = 200  # the kernel takes 253 a message
MAX_PAYLOAD = 256 << 20
CHUNK = 1 << 18

_CLASSES: dict[tuple[str, str], type] = {
    (value.__module__, value.__qualname__): value
    for value in (*vars(spec).values(), *vars(messages).values(), Assignment, Run)
    if isinstance(value, type) and value.__module__.startswith("fastlb.")
}


def _constructor(cls: type) -> Callable[[Any], tuple[Any, ...]]:
    """How a frozen class travels: itself, and what to call it with.

    For the state that dataclasses make of one with slots a tuple is cut to its length at each pickling, and kept by the
    interpreter for later use when it is freed: some kilobytes a configuration, until thousands of each length are kept.
    """
    names = tuple(field.name for field in dataclasses.fields(cls))
    if len(names) < 2:
        return lambda value: (cls, tuple([getattr(value, name) for name in names]))
    values = operator.attrgetter(*names)
    return lambda value: (cls, values(value))


_REDUCERS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    cls: _constructor(cls) for cls in _CLASSES.values() if dataclasses.is_dataclass(cls)
}
# CPython before 3.11.4 pickles the members of an enumeration by a call of getattr, which no message may hold.
_REDUCERS |= {
    cls: lambda member: (type(member), (member.value,)) for cls in _CLASSES.values() if issubclass(cls, enum.Enum)
}


class ChannelError(Exception):
    """The other side sent what is not a message."""


class _Pickler(pickle.Pickler):
    dispatch_table = _REDUCERS


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        try:
            return _CLASSES[(module, name)]
        except KeyError:
            raise ChannelError(f"{module}.{name} is not part of a message") from None


class Channel:
    """One end of a socket pair on a running loop. Owns the socket.

    `on_message(message, fds)` gets each message; the descriptors are the callee's. `on_close(error)` is called once,
    when the other side is gone (None) or sent nonsense, not after `close()`.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[messages.Message, list[int]], None],
        on_close: Callable[[Exception | None], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._on_close = on_close
        self._in = bytearray()
        self._fds: deque[int] = deque()
        self._out: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._open = True
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def idle(self) -> bool:
        """The other side has taken, or the kernel keeps for it, everything that was sent."""
        return self._open and not self._out

    def send(self, message: messages.Message, fds: Sequence[int] = ()) -> None:
        """Sends or queues, never blocks; nothing once closed. The descriptors are duplicated: yours stay yours."""
        if len(fds) > MAX_FDS:
            raise ValueError(f"{len(fds)} descriptors in one message, at most {MAX_FDS}")
        if not self._open:
            return
        payload = _dump(message)
        frame = memoryview(HEADER.pack(len(payload), len(fds)) + payload)
        # Duplicated, because the frame may leave after the caller closed its own.
        self._out.append((frame, [os.dup(fd) for fd in fds]))
        if len(self._out) == 1:
            self._writable()

    def close(self) -> None:
        """Closes the socket and every descriptor that nobody took. May be repeated."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for _, fds in self._out:
            _close_all(fds)
        _close_all(self._fds)
        self._out.clear()
        self._fds.clear()

    def _writable(self) -> None:
        while self._out:
            frame, fds = self._out[0]
            try:
                sent = socket.send_fds(self._sock, [frame], fds) if fds else self._sock.send(frame)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._sock.fileno(), self._writable)
                return
            except OSError:
                # The peer is gone; the reading side sees the end and reports it, after the peer's last words.
                for _, unsent in self._out:
                    _close_all(unsent)
                self._out.clear()
                break
            _close_all(fds)
            if sent == len(frame):
                self._out.popleft()
            else:
                self._out[0] = (frame[sent:], ())
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            data, fds, flags, _ = socket.recv_fds(self._sock, CHUNK, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        self._fds.extend(fds)
        if flags & socket.MSG_CTRUNC:
            self._end(ChannelError("descriptors were lost: the limit of open files is reached"))
            return
        if not data:
            self._end(None)
            return
        self._in += data
        try:
            self._deliver()
        except ChannelError as error:
            self._end(error)

    def _deliver(self) -> None:
        while self._open and len(self._in) >= HEADER.size:
            length, count = HEADER.unpack_from(self._in)
            if length > MAX_PAYLOAD or count > MAX_FDS:
                raise ChannelError("malformed frame")
            end = HEADER.size + length
            if len(self._in) < end:
                return
            if count > len(self._fds):
                raise ChannelError("descriptors are missing")
            message = _load(bytes(memoryview(self._in)[HEADER.size : end]))
            del self._in[:end]
            self._on_message(message, [self._fds.popleft() for _ in range(count)])

    def _end(self, error: Exception | None) -> None:
        self.close()
        self._on_close(error)


def _dump(message: messages.Message) -> bytes:
    out = io.BytesIO()
    _Pickler(out, protocol=5).dump(message)
    return out.getvalue()


def _load(payload: bytes) -> messages.Message:
    try:
        message: Any = _Unpickler(io.BytesIO(payload)).load()
    except ChannelError:
        raise
    except Exception as error:
        raise ChannelError(f"malformed message: {error}") from error
    if not isinstance(message, messages.Message):
        raise ChannelError(f"{type(message).__name__} is not a message")
    return message


def _close_all(fds: Sequence[int] | deque[int]) -> None:
    for fd in fds:
        os.close(fd)
