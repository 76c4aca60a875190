"""Response heads with the verdict that the RFC asks for: (section, request method, bytes, verdict).

As in request_cases.py; sections are those of RFC 9112 unless another RFC is named.
"""

from __future__ import annotations

from typing import Any

Verdict = str | dict[str, Any] | None
Case = tuple[str, bytes, bytes, Verdict]

STATUS = "malformed status line"
LENGTH = "invalid or repeated Content-Length"
BOTH = "Content-Length together with Transfer-Encoding"
CODING = "invalid Transfer-Encoding"
UNKNOWN_CODING = "unknown transfer coding"
BARE_LF = "line ends in LF without CR"
BARE_CR = "CR without LF"
CHUNKED = b"Transfer-Encoding: chunked"


def head(*fields: bytes, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([first, *fields, b"", b""])


def get(section: str, raw: bytes, verdict: Verdict) -> Case:
    return section, b"GET", raw, verdict


def line(section: str, first: bytes, verdict: Verdict) -> Case:
    return section, b"GET", head(first=first), verdict


START_LINE: list[Case] = [
    line("4", b"HTTP/1.1 200 OK", {"status": 200, "phrase": b"OK", "version": (1, 1), "keep_alive": False}),
    line("4", b"HTTP/1.0 404 Not Found", {"status": 404, "phrase": b"Not Found", "version": (1, 0)}),
    line("4", b"HTTP/1.1 200 ", {"status": 200, "phrase": b""}),
    line("4", b"HTTP/1.1 200", {"status": 200, "phrase": b""}),
    line("4", b"HTTP/1.1 200  OK", {"phrase": b" OK"}),
    line("4", b"HTTP/1.1 200 \t\xc3\xa9 ~", {"phrase": b"\t\xc3\xa9 ~"}),
    line("4", b"HTTP/1.1 100 x", {"status": 100}),
    line("4", b"HTTP/1.1 599 x", {"status": 599}),
    line("RFC 9110 15", b"HTTP/1.1 600 x", STATUS),
    line("RFC 9110 15", b"HTTP/1.1 999 x", STATUS),
    line("RFC 9110 15", b"HTTP/1.1 099 x", STATUS),
    line("RFC 9110 15", b"HTTP/1.1 000 x", STATUS),
    line("4", b"HTTP/1.1 20 OK", STATUS),
    line("4", b"HTTP/1.1 2000 OK", STATUS),
    line("4", b"HTTP/1.1 2x0 OK", STATUS),
    line("4", b"HTTP/1.1  200 OK", STATUS),
    line("4", b"HTTP/1.1\t200 OK", STATUS),
    line("4", b"HTTP/1.1 200\tOK", STATUS),
    line("4", b"HTTP/1.1200 OK", STATUS),
    line("4", b"HTTP/1.1", STATUS),
    line("4", b"HTTP/1.1 ", STATUS),
    line("4", b"HTTP/1.1 -200 OK", STATUS),
    line("2.3", b"HTTP/1.2 200 OK", STATUS),
    line("2.3", b"HTTP/2.0 200 OK", STATUS),
    line("2.3", b"HTTP/0.9 200 OK", STATUS),
    line("2.3", b"HTTP/11.1 200 OK", STATUS),
    line("2.3", b"http/1.1 200 OK", STATUS),
    line("2.3", b"ICY 200 OK", STATUS),
    line("4", b"HTTP/1.1 200 O\x00K", STATUS),
    line("4", b"HTTP/1.1 200 O\x0bK", STATUS),
    line("4", b"HTTP/1.1 200 O\x7fK", STATUS),
    line("2.2", b"HTTP/1.1 200 O\rK", BARE_CR),
    line("2.2", b"HTTP/1.1 200 O\nK", BARE_LF),
    line("2.2", b"HTTP/1.1 200\nK", BARE_LF),
    line("2.2", b"HTTP/1.1 200\rK", BARE_CR),
    line("2.2", b"HTTP/1.1\n200 OK", BARE_LF),
    get("2.2", b"\r\nHTTP/1.1 200 OK\r\n\r\n", STATUS),
    get("2.2", b"\nHTTP/1.1 200 OK\r\n\r\n", BARE_LF),
    get("2.1", b"", None),
    get("2.1", b"HTTP/1.", None),
    get("2.1", b"HTTP/1.1 200", None),
    get("2.1", b"HTTP/1.1 200\r", None),
    get("2.1", b"HTTP/1.1 200 OK\r", None),
    get("2.1", b"HTTP/1.1 200 OK\r\n", None),
    get("2.1", b"HTTP/1.1 200 OK\r\nA: b\r\n\r", None),
]

FIELDS: list[Case] = [
    get("5", head(b"A: b", b"C:d"), {"headers": [(b"A", b"b"), (b"C", b"d")]}),
    get("5.1", head(b"A : b"), "malformed field line"),
    get("5", head(b" A: b"), "malformed field line"),
    get("5", head(b"A"), "malformed field line"),
    get("5.2", head(b"A: b", b" c"), "folded field line"),
    get("RFC 9110 5.1", head(b"A B: c"), "malformed field line"),
    get("RFC 9110 5.1", head(b"A\x00: c"), "invalid field name"),
    get("RFC 9110 5.5", head(b"A: \x00"), "invalid byte in a field value"),
    get("RFC 9110 5.5", head(b"A: b\x0cc"), "invalid byte in a field value"),
    get("2.2", head(b"A: b\nC: d"), BARE_LF),
    get("2.2", head(b"A: b\rC: d"), BARE_CR),
    get(
        "RFC 9110 7.6.1",
        head(b"Connection: x-a, close", b"X-A: 1", b"Set-Cookie: a=b", b"Keep-Alive: 5"),
        {"hop_by_hop": [(b"Connection", b"x-a, close"), (b"X-A", b"1"), (b"Keep-Alive", b"5")]},
    ),
    get(
        "RFC 9110 7.6.1",
        head(b"Connection: set-cookie, content-length", b"Set-Cookie: a=b", b"Content-Length: 1"),
        {"hop_by_hop": [(b"Connection", b"set-cookie, content-length")], "content_length": 1},
    ),
    get("RFC 9110 7.6.1", head(b"Connection: " + b"x," * 33), "Connection lists too many names"),
]

FRAMING: list[Case] = [
    get("6.3", head(), {"framing": "eof", "keep_alive": False}),
    get("6.3", head(b"Connection: keep-alive"), {"framing": "eof", "keep_alive": False}),
    get("6.3", head(b"Content-Length: 5"), {"framing": "length", "content_length": 5, "keep_alive": True}),
    get("6.3", head(b"Content-Length: 0"), {"framing": "none", "keep_alive": True, "hop_by_hop": []}),
    get("6.3", head(CHUNKED), {"framing": "chunked", "keep_alive": True}),
    get("6.3", head(CHUNKED, b"Content-Length: 5"), BOTH),
    get("6.3", head(b"Content-Length: 5", b"Content-Length: 5"), LENGTH),
    get("6.3", head(b"Content-Length: 5", b"Content-Length: 6"), LENGTH),
    get("6.3", head(b"Content-Length: 5, 5"), LENGTH),
    get("6.2", head(b"Content-Length: -1"), LENGTH),
    get("6.2", head(b"Content-Length: 99999999999999999999"), LENGTH),
    get("6.1", head(CHUNKED, first=b"HTTP/1.0 200 OK"), CODING),
    get("6.1", head(CHUNKED, CHUNKED), CODING),
    get("6.1", head(b"Transfer-Encoding: gzip, chunked"), UNKNOWN_CODING),
    get("6.3", head(b"Transfer-Encoding: gzip"), CODING),
    get("6.3", head(b"Transfer-Encoding: chunked, deflate"), CODING),
    get("6.3", head(b"Transfer-Encoding: identity"), CODING),
    ("6.3", b"HEAD", head(b"Content-Length: 5"), {"framing": "none", "content_length": 5, "keep_alive": True}),
    ("6.3", b"HEAD", head(CHUNKED), {"framing": "none", "keep_alive": True}),
    ("6.3", b"HEAD", head(), {"framing": "none", "keep_alive": True}),
    ("6.3", b"HEAD", head(b"Content-Length: 5", CHUNKED), BOTH),
    ("6.3", b"HEAD", head(b"Content-Length: x"), LENGTH),
    line("6.3", b"HTTP/1.1 304 Not Modified", {"framing": "none", "keep_alive": True}),
    get(
        "6.3",
        head(b"Content-Length: 9", first=b"HTTP/1.1 304 Not Modified"),
        {"framing": "none", "content_length": 9, "keep_alive": True, "hop_by_hop": []},
    ),
    line("6.3", b"HTTP/1.1 204 No Content", {"framing": "none", "keep_alive": True}),
    get(
        "RFC 9110 8.6",
        head(b"Content-Length: 0", first=b"HTTP/1.1 204 No Content"),
        {"framing": "none", "keep_alive": True, "hop_by_hop": [(b"Content-Length", b"0")]},
    ),
    get(
        "RFC 9110 8.6",
        head(b"Content-Length: 5", first=b"HTTP/1.1 204 No Content"),
        {"framing": "none", "content_length": 0, "keep_alive": False, "hop_by_hop": [(b"Content-Length", b"5")]},
    ),
    get(
        "6.1",
        head(CHUNKED, first=b"HTTP/1.1 204 No Content"),
        {"framing": "none", "keep_alive": False, "hop_by_hop": [(b"Transfer-Encoding", b"chunked")]},
    ),
    line("6.3", b"HTTP/1.1 100 Continue", {"framing": "none", "keep_alive": True}),
    get("RFC 9110 8.6", head(b"Content-Length: 5", first=b"HTTP/1.1 100 Continue"), LENGTH),
    get("6.1", head(CHUNKED, first=b"HTTP/1.1 103 Early Hints"), CODING),
    get(
        "RFC 9110 8.6",
        head(b"Content-Length: 0", first=b"HTTP/1.1 100 Continue"),
        {"framing": "none", "hop_by_hop": [(b"Content-Length", b"0")]},
    ),
    get("6.3", head(b"Content-Length: 5", first=b"HTTP/1.1 205 Reset Content"), {"framing": "length"}),
    get(
        "RFC 9110 7.8",
        head(b"Connection: upgrade", b"Upgrade: websocket", first=b"HTTP/1.1 101 Switching Protocols"),
        {"framing": "tunnel", "upgrade": True},
    ),
    line("RFC 9110 7.8", b"HTTP/1.1 101 Switching Protocols", {"framing": "tunnel", "upgrade": False}),
    get("6.1", head(CHUNKED, first=b"HTTP/1.1 101 Switching Protocols"), CODING),
    ("6.3", b"CONNECT", head(), {"framing": "tunnel"}),
    ("6.3", b"CONNECT", head(b"Content-Length: 5"), {"framing": "tunnel"}),
    ("6.3", b"CONNECT", head(b"Content-Length: 5", first=b"HTTP/1.1 407 x"), {"framing": "length"}),
]

PERSISTENCE: list[Case] = [
    get("9.3", head(b"Connection: close", b"Content-Length: 1"), {"keep_alive": False}),
    get("9.3", head(b"Connection: Close, x", b"Content-Length: 1"), {"keep_alive": False}),
    get("9.3", head(b"Content-Length: 1", first=b"HTTP/1.0 200 OK"), {"keep_alive": False}),
    get(
        "9.3",
        head(b"Connection: keep-alive", b"Content-Length: 1", first=b"HTTP/1.0 200 OK"),
        {"keep_alive": True},
    ),
]

ALL: list[Case] = START_LINE + FIELDS + FRAMING + PERSISTENCE
