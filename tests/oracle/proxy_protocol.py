"""A slow, plain reader of PROXY headers: what the engine's must say, written from the specification alone."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from dataclasses import dataclass

LONGEST = 8192
_SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([^ ]+) ([^ ]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN( [^\r\n]*)?", re.DOTALL)


@dataclass(frozen=True)
class Read:
    """What a header says; ends are None where those of the connection hold."""

    version: int
    length: int
    source: tuple[str, int] | None
    destination: tuple[str, int] | None
    unique_id: bytes = b""
    authority: bytes = b""
    alpn: bytes = b""


def read(data: bytes) -> Read | str | None:
    """A header, None when there is more to come, "bad" when it is none."""
    if data[:1] in (b"", b"P"):
        return _line(data)
    if not _SIGNATURE.startswith(data[:12]):
        return "bad"
    if len(data) > 12 and data[12] not in (0x20, 0x21):
        return "bad"
    if len(data) > 13 and data[13] not in (0x00, 0x11, 0x21, 0x31):
        return "bad"
    if len(data) < 16:
        return None
    (size,) = struct.unpack(">H", data[14:16])
    room = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}[data[13]]
    local = data[12] == 0x20
    if 16 + size > LONGEST or (size < room and not local):
        return "bad"
    if len(data) < 16 + size:
        return None
    if local:
        return Read(2, 16 + size, None, None)
    return _binary(data[: 16 + size], room)


def _line(data: bytes) -> Read | str | None:
    line, crlf, _ = data[:107].partition(b"\r\n")
    if not crlf:
        cut = line[:-1] if line.endswith(b"\r") else line
        if b"\r" in cut or b"\n" in line or not b"PROXY ".startswith(line[:6]):
            return "bad"
        # 107 with CRLF: the CR is the 106th at the latest
        return "bad" if len(cut) > 105 else None
    if b"\r" in line or b"\n" in line:
        return "bad"
    if _UNKNOWN.fullmatch(line):
        return Read(1, len(line) + 2, None, None)
    match = _LINE.fullmatch(line)
    if not match:
        return "bad"
    family, source, destination, *ports = match.groups()
    ends = []
    for text, port in zip((source, destination), ports, strict=True):
        try:
            kind = ipaddress.IPv4Address if family == b"TCP4" else ipaddress.IPv6Address
            address = _text(kind(text.decode("ascii")))
        except ValueError:
            return "bad"
        if int(port) > 65535 or b"%" in text:
            return "bad"
        ends.append((address, int(port)))
    return Read(1, len(line) + 2, ends[0], ends[1])


def _binary(header: bytes, room: int) -> Read | str:
    ends: list[tuple[str, int] | None] = [None, None]
    if room in (12, 36):
        width = 4 if room == 12 else 16
        raw = header[16 : 16 + room]
        ports = struct.unpack(">HH", raw[2 * width :])
        ends = [
            (_text(ipaddress.ip_address(raw[i * width : (i + 1) * width])), ports[i]) for i in range(2)
        ]  # fmt: skip
    elif room == 216:
        ends = [("unix", 0), ("unix", 0)]
    texts = {1: b"", 2: b"", 5: b""}
    at = 16 + room
    while at < len(header):
        size = struct.unpack(">H", header[at + 1 : at + 3])[0] if len(header) - at >= 3 else len(header)
        value = header[at + 3 : at + 3 + size]
        if len(value) < size:
            return "bad"
        kind = header[at]
        if kind in texts:
            texts[kind] = value
        if kind == 5 and size > 128:
            return "bad"
        if kind == 3:
            blank = header[: at + 3] + bytes(4) + header[at + 7 :]
            if size != 4 or struct.pack(">I", crc32c(blank)) != value:
                return "bad"
        if kind == 0x20 and not _nested(value):
            return "bad"
        at += 3 + size
    return Read(2, len(header), ends[0], ends[1], texts[5], texts[2], texts[1])


def _text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return socket.inet_ntop(socket.AF_INET if address.version == 4 else socket.AF_INET6, address.packed)


def _nested(value: bytes) -> bool:
    rest = value[5:]
    while len(value) >= 5 and rest:
        if len(rest) < 3:
            return False
        (size,) = struct.unpack(">H", rest[1:3])
        if len(rest) < 3 + size:
            return False
        rest = rest[3 + size :]
    return len(value) >= 5


def crc32c(data: bytes) -> int:
    """Bit by bit, RFC 4960 appendix B."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
