"""A slow, plain reader of ClientHellos (RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 7301)."""

from __future__ import annotations

import re

INPUT, MESSAGE = 20480, 16384


class _Wrong(Exception):
    pass


class _Short(Exception):
    pass


def read(data: bytes) -> tuple[str, list[bytes]] | str | None:
    """Server name and protocols, None when there is more to come, "none" when it is no ClientHello."""
    data = data[:INPUT]
    try:
        return _hello(_message(data))
    except _Short:
        return None if len(data) < INPUT else "none"
    except _Wrong:
        return "none"


def _message(data: bytes) -> bytes:
    message = b""
    while True:
        if data[:1] not in (b"", b"\x16") or data[1:2] not in (b"", b"\3"):
            raise _Wrong
        if len(data) < 5:
            raise _Short
        size = int.from_bytes(data[3:5])
        if not 0 < size <= 16384:
            raise _Wrong
        message += data[5 : 5 + size]
        data, partial = data[5 + size :], len(data) < 5 + size
        if message and message[0] != 1:
            raise _Wrong
        if len(message) >= 4:
            whole = 4 + int.from_bytes(message[1:4])
            if whole > MESSAGE:
                raise _Wrong
            if len(message) >= whole:
                return message[4:whole]
        if partial:
            raise _Short


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, n: int) -> bytes:
        if len(self.data) < n:
            raise _Wrong
        got, self.data = self.data[:n], self.data[n:]
        return got

    def vector(self, width: int, least: int, most: int) -> bytes:
        n = int.from_bytes(self.take(width))
        if not least <= n <= most:
            raise _Wrong
        return self.take(n)


def _hello(body: bytes) -> tuple[str, list[bytes]]:
    r = _Reader(body)
    r.take(34)
    r.vector(1, 0, 32)
    r.vector(2, 2, 65534)
    r.vector(1, 1, 255)
    found: dict[int, bytes] = {}
    if r.data:
        extensions = _Reader(r.vector(2, 0, 65535))
        if r.data:
            raise _Wrong
        while extensions.data:
            kind = int.from_bytes(extensions.take(2))
            value = extensions.vector(2, 0, 65535)
            if kind in (0, 16) and kind in found:
                raise _Wrong
            found[kind] = value
    return _name(found.get(0)), _protocols(found.get(16))


def _name(value: bytes | None) -> str:
    if value is None:
        return ""
    whole = _Reader(value)
    one = _Reader(whole.vector(2, 0, 65535))
    if whole.data or one.take(1) != b"\0":
        raise _Wrong
    name = one.vector(2, 1, 255)
    if one.data or not re.fullmatch(rb"[-A-Za-z0-9._]+", name):
        raise _Wrong
    return name.decode()


def _protocols(value: bytes | None) -> list[bytes]:
    if value is None:
        return []
    whole = _Reader(value)
    names = _Reader(whole.vector(2, 2, 65535))
    if whole.data:
        raise _Wrong
    found = []
    while names.data:
        found.append(names.vector(1, 1, 255))
    return found
