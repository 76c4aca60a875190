"""Chunked transfer coding read slowly, from the grammar of RFC 9112 section 7.1, one whole message at a time.

It has its own idea of everything: lines are cut first and matched as a whole by a regular expression. Shared with the
engine are only the limits and the names that a trailer section must not hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
BWS = rb"[ \t]*"
EXTENSION = BWS + rb";" + BWS + TOKEN + rb"(?:" + BWS + rb"=" + BWS + rb"(?:" + TOKEN + rb"|" + QUOTED + rb"))?"
SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:" + EXTENSION + rb")*)\Z")
TRAILER = re.compile(rb"(" + TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)\Z")

LINE_MAX = 4096
EXCESS_MAX = 16384
TRAILERS_MAX = 8192
LENGTH_MAX = 1 << 62

FORBIDDEN = {
    b"host", b"connection", b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"keep-alive",
    b"proxy-connection", b"te", b"trailer", b"proxy-authenticate", b"proxy-authorization", b"x-forwarded-for",
    b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"forwarded", b"x-request-id", b"cookie",
    b"set-cookie", b"http2-settings", b"authorization", b"x-real-ip",
}  # fmt: skip


@dataclass
class Read:
    """What a message says. `verdict` is end, more or refused; `body` what was decoded before that."""

    verdict: str
    body: bytes
    used: int = 0


def read_chunked(data: bytes) -> Read:
    body = b""
    excess = 0
    at = 0
    while True:
        end = data.find(b"\r\n", at)
        line = data[at:end] if end >= 0 else data[at:]
        match = SIZE_LINE.match(line)
        if end < 0:
            # A line that is not complete: refused as soon as nothing could make it valid.
            return Read("more" if _may_become_size_line(line) else "refused", body)
        if match is None or int(match[1], 16) > LENGTH_MAX or len(line) + 1 > LINE_MAX:
            return Read("refused", body)
        size = int(match[1], 16)
        excess = max(0, excess + len(match[2]) - size)
        if excess > EXCESS_MAX:
            return Read("refused", body)
        at = end + 2
        if size == 0:
            return _read_trailers(data, at, body)
        body += data[at : at + size]
        rest = data[at + size : at + size + 2]
        if not b"\r\n".startswith(rest):
            return Read("refused", body)
        if len(rest) < 2:
            return Read("more", body)
        at += size + 2


def _read_trailers(data: bytes, at: int, body: bytes) -> Read:
    begin = at
    while True:
        end = data.find(b"\r\n", at)
        line = data[at:end] if end >= 0 else data[at:]
        if end == at:
            return Read("end", body, at + 2)
        if end < 0:
            partial = line[:-1] if line.endswith(b"\r") else line
            if line in (b"", b"\r"):
                return Read("more", body)
            too_long = at + len(partial) - begin > TRAILERS_MAX
            named = TRAILER.match(partial)
            good = not _forbidden(named[1]) if named else re.match(TOKEN + rb"\Z", line) is not None
            return Read("more" if good and not too_long else "refused", body)
        match = TRAILER.match(line)
        if match is None or _forbidden(match[1]) or end + 2 - begin > TRAILERS_MAX:
            return Read("refused", body)
        at = end + 2


def _forbidden(name: bytes) -> bool:
    return re.sub(rb"[^a-z0-9]", b"-", name.lower()) in FORBIDDEN


# every prefix of a size line, as a regular expression over what has been read
_PREFIX_VALUE = rb"(?:" + TOKEN + rb'|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*(?:\\|"?))?'
_PREFIX = re.compile(
    rb"([0-9A-Fa-f]{1,16})(?:" + EXTENSION + rb")*"
    rb"(?:" + BWS + rb"(?:;" + BWS + rb"(?:" + TOKEN + BWS + rb"(?:=" + BWS + _PREFIX_VALUE + rb")?)?)?)?\Z"
)


def _may_become_size_line(line: bytes) -> bool:
    if not line:
        return True
    match = SIZE_LINE.match(line[:-1]) if line.endswith(b"\r") else _PREFIX.match(line)
    # A size is judged when the digit that makes it too large is followed by something.
    if match is None or len(line) > LINE_MAX:
        return False
    return match.end(1) == len(line) or int(match[1], 16) <= LENGTH_MAX
