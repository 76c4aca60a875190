"""Request heads with the verdict that the RFC asks for: (section, bytes, verdict).

A verdict is a pair (status, reason) for a head that is refused, None for one that is not complete, or the attributes
of `RequestParser` that matter. Sections are those of RFC 9112 unless another RFC is named.
"""

from __future__ import annotations

from typing import Any

Verdict = tuple[int, str] | dict[str, Any] | None
Case = tuple[str, bytes, Verdict]

METHOD = (400, "invalid method")
TARGET = (400, "invalid request target")
LINE = (400, "malformed request line")
VERSION = (400, "unsupported protocol version")
UNSUPPORTED = (505, "unsupported protocol version")
NAME = (400, "invalid field name")
VALUE = (400, "invalid byte in a field value")
FIELD = (400, "malformed field line")
FOLD = (400, "folded field line")
BARE_LF = (400, "line ends in LF without CR")
BARE_CR = (400, "CR without LF")
LENGTH = (400, "invalid or repeated Content-Length")
BOTH = (400, "Content-Length together with Transfer-Encoding")
CODING = (400, "invalid Transfer-Encoding")
UNKNOWN_CODING = (501, "unknown transfer coding")
NO_HOST = (400, "Host is missing")
HOST = (400, "invalid or repeated Host")
CONNECTION = (400, "Connection lists too many names")


def head(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bytes | None = b"a.example") -> bytes:
    """A request head of these field lines, with a Host unless told otherwise."""
    fields = ([b"Host: " + host] if host is not None else []) + list(lines)
    return b"\r\n".join([first, *fields, b"", b""])


def line(first: bytes) -> bytes:
    return head(first=first)


START_LINE: list[Case] = [
    ("3", line(b"GET / HTTP/1.1"), {"method": b"GET", "target": b"/", "version": (1, 1), "path": b"/", "query": None}),
    ("3", line(b"GET / HTTP/1.0"), {"version": (1, 0), "keep_alive": False}),
    ("3.1", line(b"HEAD / HTTP/1.1"), {"method": b"HEAD", "known_method": True, "idempotent": True}),
    ("3.1", line(b"POST / HTTP/1.1"), {"method": b"POST", "idempotent": False}),
    ("3.1", line(b"PUT / HTTP/1.1"), {"method": b"PUT", "idempotent": True}),
    ("3.1", line(b"DELETE / HTTP/1.1"), {"method": b"DELETE", "idempotent": True}),
    ("3.1", line(b"PATCH / HTTP/1.1"), {"method": b"PATCH", "known_method": True, "idempotent": False}),
    ("3.1", line(b"TRACE / HTTP/1.1"), {"method": b"TRACE", "known_method": True, "idempotent": True}),
    ("3.1", line(b"OPTIONS / HTTP/1.1"), {"method": b"OPTIONS", "known_method": True, "form": "origin"}),
    ("RFC 9110 9.1", line(b"get / HTTP/1.1"), {"method": b"get", "known_method": False, "idempotent": False}),
    ("3.1", line(b"PURGE / HTTP/1.1"), {"method": b"PURGE", "known_method": False}),
    ("RFC 9110 5.6.2", line(b"!#$%&'*+-.^_`|~09azAZ / HTTP/1.1"), {"known_method": False}),
    ("3.1", line(b"G / HTTP/1.1"), {"method": b"G"}),
    ("3.1", line(b"GETS / HTTP/1.1"), {"method": b"GETS", "known_method": False}),
    ("3.1", line(b"GE(T / HTTP/1.1"), METHOD),
    ("3.1", line(b"G\xc3\x89T / HTTP/1.1"), METHOD),
    ("3.1", line(b"GET\x00 / HTTP/1.1"), METHOD),
    ("3", line(b" GET / HTTP/1.1"), LINE),
    ("3", line(b"GET  / HTTP/1.1"), LINE),
    ("3", line(b"GET /  HTTP/1.1"), LINE),
    ("3", line(b"GET\t/ HTTP/1.1"), METHOD),
    ("3", line(b"GET /\tHTTP/1.1"), TARGET),
    ("3", line(b"GET / HTTP/1.1 "), LINE),
    ("3", line(b"GET / a HTTP/1.1"), VERSION),
    ("3", line(b"GET"), LINE),
    ("3", line(b"GET /"), LINE),  # HTTP/0.9
    ("3", b"GET /\r\n", LINE),
    ("3", b"\x16\x03\x01\x02\x00\x01", METHOD),  # TLS on a plain port
    ("2.2", b"\r\n" + head(), {"length": len(head()) + 2, "method": b"GET"}),
    ("2.2", b"\r\n" * 4 + head(), {"length": len(head()) + 8, "line": b"GET / HTTP/1.1"}),
    ("2.2", b"\r\n" * 5 + head(), LINE),
    ("2.2", b"\n" + head(), BARE_LF),
    ("2.2", b"\r\r\n" + head(), BARE_CR),
    ("2.2", b"GET / HTTP/1.1\nHost: a\n\n", BARE_LF),
    ("2.2", b"GET / HTTP/1.1\rHost: a\r\n\r\n", BARE_CR),
    ("2.2", b"GET /\nHTTP/1.1\r\n\r\n", BARE_LF),
    ("2.2", b"GET\n/ HTTP/1.1\r\n\r\n", BARE_LF),
    ("2.2", b"GET / \nHTTP/1.1\r\n\r\n", BARE_LF),
    ("2.3", line(b"GET / HTTP/1.2"), UNSUPPORTED),
    ("2.3", line(b"GET / HTTP/1.9"), UNSUPPORTED),
    ("2.3", line(b"GET / HTTP/2.0"), UNSUPPORTED),
    ("2.3", line(b"GET / HTTP/3.0"), UNSUPPORTED),
    ("2.3", line(b"GET / HTTP/0.9"), UNSUPPORTED),
    ("RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", UNSUPPORTED),
    ("2.3", line(b"GET / HTTP/1.10"), VERSION),
    ("2.3", line(b"GET / HTTP/1.1.1"), VERSION),
    ("2.3", line(b"GET / HTTP/11.1"), VERSION),
    ("2.3", line(b"GET / HTTP/1"), VERSION),
    ("2.3", line(b"GET / HTTP/1,1"), VERSION),
    ("2.3", line(b"GET / HTTP 1.1"), LINE),
    ("2.3", line(b"GET / http/1.1"), VERSION),
    ("2.3", line(b"GET / HTTPS/1.1"), VERSION),
    ("2.3", line(b"GET / ICE/1.0"), VERSION),
    ("2.3", line(b"GET / HTTP/1.1\x00"), LINE),
]

TARGETS: list[Case] = [
    ("3.2.1", line(b"GET /a/b?c=d&e HTTP/1.1"), {"path": b"/a/b", "query": b"c=d&e", "form": "origin"}),
    ("3.2.1", line(b"GET /? HTTP/1.1"), {"path": b"/", "query": b""}),
    ("3.2.1", line(b"GET /a?b?c HTTP/1.1"), {"path": b"/a", "query": b"b?c"}),
    ("3.2.1", line(b"GET //a HTTP/1.1"), {"path": b"//a"}),
    ("3.2.1", line(b'GET /"<>\\^`{|} HTTP/1.1'), {"path": b'/"<>\\^`{|}'}),
    ("3.2.1", line(b"GET /%zz HTTP/1.1"), {"path": b"/%zz"}),
    ("3.2", line(b"GET /a#b HTTP/1.1"), TARGET),
    ("3.2", line(b"GET /a?b#c HTTP/1.1"), TARGET),
    ("3.2", line(b"GET /\xc3\xa0 HTTP/1.1"), TARGET),
    ("3.2", line(b"GET /a?\xff HTTP/1.1"), TARGET),
    ("3.2", line(b"GET /\x00 HTTP/1.1"), TARGET),
    ("3.2", line(b"GET /\x7f HTTP/1.1"), TARGET),
    ("3.2", line(b"GET a/b HTTP/1.1"), TARGET),
    ("3.2", line(b"GET ?a HTTP/1.1"), TARGET),
    ("3.2", line(b"GET ! HTTP/1.1"), TARGET),
    (
        "3.2.2",
        head(first=b"GET http://b.example:81/x?y HTTP/1.1"),
        {
            "form": "absolute",
            "host": b"b.example",
            "port": 81,
            "authority": b"b.example:81",
            "path": b"/x",
            "query": b"y",
        },
    ),
    ("3.2.2", line(b"GET http://b.example HTTP/1.1"), {"host": b"b.example", "path": b"", "query": None}),
    ("3.2.2", line(b"GET http://b.example?q HTTP/1.1"), {"host": b"b.example", "path": b"", "query": b"q"}),
    ("3.2.2", line(b"GET HTTPS://b.example/ HTTP/1.1"), {"form": "absolute", "host": b"b.example"}),
    ("3.2.2", line(b"GET http://[::1]:8080/ HTTP/1.1"), {"host": b"[::1]", "port": 8080}),
    ("3.2.2", line(b"OPTIONS http://b.example HTTP/1.1"), {"form": "absolute", "path": b""}),
    ("3.2.2", line(b"GET http:///x HTTP/1.1"), TARGET),
    ("3.2.2", line(b"GET http://:80/x HTTP/1.1"), TARGET),
    ("3.2.2", line(b"GET http://?x HTTP/1.1"), TARGET),
    ("3.2.2", line(b"GET http:/x HTTP/1.1"), TARGET),
    ("3.2.2", line(b"GET http:x HTTP/1.1"), TARGET),
    ("3.2.2", line(b"GET ://b.example/ HTTP/1.1"), TARGET),
    ("3.2.2", line(b"GET 1http://b.example/ HTTP/1.1"), TARGET),
    ("3.2.2", line(b"GET http://b.example:x/ HTTP/1.1"), TARGET),
    ("3.2.2", line(b"GET http://b.example:65536/ HTTP/1.1"), TARGET),
    ("3.2.2", line(b"GET http://b,example/ HTTP/1.1"), TARGET),
    ("3.2.2", line(b"GET http://[::1/ HTTP/1.1"), TARGET),
    ("RFC 9110 4.2.4", line(b"GET http://user@b.example/ HTTP/1.1"), TARGET),
    ("RFC 9110 4.2.4", line(b"GET http://user:pass@b.example/ HTTP/1.1"), TARGET),
    ("3.2.2", head(first=b"GET http://b.example/ HTTP/1.1", host=None), NO_HOST),
    ("3.2.2", head(first=b"GET http://b.example/ HTTP/1.0", host=None), {"host": b"b.example", "version": (1, 0)}),
    ("3.2.2", head(first=b"GET http://b.example/ HTTP/1.1", host=b"b@d"), HOST),
    ("3.2.3", line(b"CONNECT b.example:443 HTTP/1.1"), {"form": "authority", "host": b"b.example", "port": 443}),
    ("3.2.3", line(b"CONNECT [::1]:443 HTTP/1.1"), {"form": "authority", "host": b"[::1]", "port": 443}),
    ("3.2.3", line(b"CONNECT b.example HTTP/1.1"), TARGET),
    ("3.2.3", line(b"CONNECT b.example: HTTP/1.1"), TARGET),
    ("3.2.3", line(b"CONNECT :443 HTTP/1.1"), TARGET),
    ("3.2.3", line(b"CONNECT / HTTP/1.1"), TARGET),
    ("3.2.3", line(b"CONNECT http://b.example:443/ HTTP/1.1"), TARGET),
    ("3.2.3", line(b"CONNECT b.example:443?a HTTP/1.1"), TARGET),
    ("3.2.3", line(b"GET b.example:443 HTTP/1.1"), TARGET),
    ("3.2.4", line(b"OPTIONS * HTTP/1.1"), {"form": "asterisk", "path": b"*", "host": b"a.example"}),
    ("3.2.4", line(b"OPTIONS *?a HTTP/1.1"), TARGET),
    ("3.2.4", line(b"OPTIONS ** HTTP/1.1"), TARGET),
    ("3.2.4", line(b"GET * HTTP/1.1"), TARGET),
]

FIELDS: list[Case] = [
    ("5", head(b"A: b"), {"headers": [(b"Host", b"a.example"), (b"A", b"b")]}),
    ("5", head(b"A:b"), {"headers": [(b"Host", b"a.example"), (b"A", b"b")]}),
    ("5.1", head(b"A: \t b c \t "), {"headers": [(b"Host", b"a.example"), (b"A", b"b c")]}),
    ("5", head(b"A:"), {"headers": [(b"Host", b"a.example"), (b"A", b"")]}),
    ("5", head(b"A:  \t "), {"headers": [(b"Host", b"a.example"), (b"A", b"")]}),
    ("5", head(b"A: b\tc"), {"headers": [(b"Host", b"a.example"), (b"A", b"b\tc")]}),
    ("RFC 9110 5.5", head(b"A: \xe4\xff\x80"), {"headers": [(b"Host", b"a.example"), (b"A", b"\xe4\xff\x80")]}),
    ("RFC 9110 5.1", head(b"!#$%&'*+-.^_`|~0aZ: b"), {"framing": "none"}),
    ("5", head(b"A: b: c"), {"headers": [(b"Host", b"a.example"), (b"A", b"b: c")]}),
    ("5.1", head(b"A : b"), FIELD),
    ("5.1", head(b"A\t: b"), FIELD),
    ("5.1", head(b"Content-Length : 5"), FIELD),
    ("2.2", head(b" A: b", host=None), FIELD),
    ("2.2", head(b"\tA: b", host=None), FIELD),
    ("5.2", head(b"A: b", b" c"), FOLD),
    ("5.2", head(b"A:", b"\tc"), FOLD),
    ("5.2", head(b"A: b", b" "), FOLD),
    ("5", head(b"A"), FIELD),
    ("5", head(b"A b: c"), FIELD),
    ("RFC 9110 5.1", head(b": b"), NAME),
    ("RFC 9110 5.1", head(b"A\x00: b"), NAME),
    ("RFC 9110 5.1", head(b"A\x0b: b"), NAME),
    ("RFC 9110 5.1", head(b"A(: b"), NAME),
    ("RFC 9110 5.1", head(b"A\xe4: b"), NAME),
    ("RFC 9110 5.1", head(b"Content-Length\x85: 5"), NAME),
    ("RFC 9110 5.1", head(b"\xefA: b"), NAME),
    ("RFC 9110 5.1", head(b"A@: b"), NAME),
    ("RFC 9110 5.1", head(b'"A": b'), NAME),
    ("RFC 9110 5.5", head(b"A: b\x00c"), VALUE),
    ("RFC 9110 5.5", head(b"A: \x01"), VALUE),
    ("RFC 9110 5.5", head(b"A: b\x7f"), VALUE),
    ("RFC 9110 5.5", head(b"A: b\x0bc"), VALUE),
    ("RFC 9110 5.5", head(b"A: b\x1b[1m"), VALUE),
    ("2.2", head(b"A: b\nC: d"), BARE_LF),
    ("2.2", head(b"A\n: b"), BARE_LF),
    ("2.2", head(b"A:\nC: d"), BARE_LF),
    ("2.2", head(b"A: b\rC: d"), BARE_CR),
    ("2.2", head(b"A: b\r"), BARE_CR),
    ("2.2", head(b"A:\r c"), BARE_CR),
    ("2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\n", BARE_LF),
    ("2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\rX", BARE_CR),
    ("2.2", b"GET / HTTP/1.1\r\nHost: a\n\r\n", BARE_LF),
    ("2.1", b"GET / HTTP/1.1\r\nHost: a\r\n", None),
    ("2.1", b"GET / HTTP/1.1\r\nHost: a\r\n\r", None),
    ("2.1", b"GET / HTTP/1.1\r\nHost", None),
    ("2.1", b"GET / HT", None),
    ("2.1", b"GET /", None),
    ("2.1", b"G", None),
    ("2.1", b"\r", None),
    ("2.1", b"\r\n", None),
    ("2.1", b"", None),
]

HOSTS: list[Case] = [
    ("3.2", head(), {"host": b"a.example", "port": 0, "authority": b"a.example"}),
    ("3.2", head(host=b"a.example:8080"), {"host": b"a.example", "port": 8080, "authority": b"a.example:8080"}),
    ("3.2", head(host=b"a.example:"), {"host": b"a.example", "port": 0}),
    ("3.2", head(host=b"a.example:0080"), {"port": 80}),
    ("3.2", head(host=b""), {"host": b"", "authority": b""}),
    ("3.2", head(host=b"[2001:db8::1]:80"), {"host": b"[2001:db8::1]", "port": 80}),
    ("3.2", head(host=b"a_b.example"), {"host": b"a_b.example"}),
    ("RFC 3986 3.2.2", head(host=b"0.0.0.0=5000"), {"host": b"0.0.0.0=5000"}),
    ("RFC 3986 3.2.2", head(host=b"a%41"), {"host": b"a%41"}),
    ("RFC 3986 3.2.2", head(host=b"a%4"), HOST),
    ("RFC 3986 3.2.2", head(host=b"a%zz"), HOST),
    ("3.2", head(host=None), NO_HOST),
    ("3.2", head(first=b"GET / HTTP/1.0", host=None), {"host": b""}),
    ("3.2", head(b"Host: a.example"), HOST),
    ("3.2", head(b"Host: b.example"), HOST),
    ("3.2", head(b"host: b.example", first=b"GET / HTTP/1.0"), HOST),
    ("3.2", head(host=b"a.example, b.example"), HOST),
    ("3.2", head(host=b"a.example,b.example"), HOST),
    ("3.2", head(host=b","), HOST),
    ("3.2", head(host=b"a b"), HOST),
    ("3.2", head(host=b"a/b"), HOST),
    ("3.2", head(host=b"a?b"), HOST),
    ("3.2", head(host=b"a#b"), HOST),
    ("3.2", head(host=b"http://a"), HOST),
    ("3.2", head(host=b"user@a"), HOST),
    ("3.2", head(host=b"a:b"), HOST),
    ("3.2", head(host=b"a:-1"), HOST),
    ("3.2", head(host=b"a:80:80"), HOST),
    ("3.2", head(host=b"a:65536"), HOST),
    ("3.2", head(host=b"a:99999999999999999999"), HOST),
    ("3.2", head(host=b":80"), HOST),
    ("3.2", head(host=b"a\xff"), HOST),
    ("3.2", head(host=b"a\\b"), HOST),
    ("3.2", head(host=b"[::1"), HOST),
    ("3.2", head(host=b"[::1]x"), HOST),
    ("3.2", head(host=b"[]"), HOST),
    ("RFC 6874", head(host=b"[fe80::1%25eth0]"), HOST),
    ("RFC 3986 3.2.2", head(host=b"[v1.a]"), HOST),
]

BODY = b"Transfer-Encoding: chunked"
FRAMING: list[Case] = [
    ("6.3", head(), {"framing": "none", "content_length": 0}),
    ("6.3", head(b"Content-Length: 5"), {"framing": "length", "content_length": 5}),
    ("6.3", head(b"Content-Length: 0"), {"framing": "none", "content_length": 0}),
    ("6.2", head(b"content-length:\t42\t "), {"framing": "length", "content_length": 42}),
    ("6.2", head(b"Content-Length: 0000000000000000000000000000005"), {"content_length": 5}),
    ("6.2", head(b"Content-Length: 4611686018427387904"), {"content_length": 1 << 62}),
    ("6.2", head(b"Content-Length: 4611686018427387905"), LENGTH),
    ("6.2", head(b"Content-Length: 18446744073709551615"), LENGTH),
    ("6.2", head(b"Content-Length: 18446744073709551616"), LENGTH),
    ("6.2", head(b"Content-Length: 18446744073709551621"), LENGTH),
    ("6.2", head(b"Content-Length: 1000000000000000000000000"), LENGTH),
    ("6.2", head(b"Content-Length: "), LENGTH),
    ("6.2", head(b"Content-Length: +5"), LENGTH),
    ("6.2", head(b"Content-Length: -5"), LENGTH),
    ("6.2", head(b"Content-Length: 0x5"), LENGTH),
    ("6.2", head(b"Content-Length: 5 5"), LENGTH),
    ("6.2", head(b"Content-Length: 5;a"), LENGTH),
    ("6.2", head(b"Content-Length: 1_0"), LENGTH),
    ("6.2", head(b"Content-Length: 5.0"), LENGTH),
    ("6.2", head(b'Content-Length: "5"'), LENGTH),
    ("6.3", head(b"Content-Length: 5, 5"), LENGTH),
    ("6.3", head(b"Content-Length: 5,"), LENGTH),
    ("6.3", head(b"Content-Length: 5", b"Content-Length: 5"), LENGTH),
    ("6.3", head(b"Content-Length: 5", b"content-length: 6"), LENGTH),
    ("6.3", head(BODY), {"framing": "chunked"}),
    ("7", head(b"transfer-ENCODING:CHUNKED"), {"framing": "chunked"}),
    ("6.1", head(b"Transfer-Encoding: \t chunked  "), {"framing": "chunked"}),
    ("6.1", head(b"Transfer-Encoding: chunked\t"), CODING),  # llhttp reads another name
    ("6.1", head(b"Transfer-Encoding: chunked \t "), CODING),
    ("6.3", head(BODY, b"Content-Length: 5"), BOTH),
    ("6.3", head(b"Content-Length: 5", BODY), BOTH),
    ("6.3", head(b"Content-Length: 0", BODY), BOTH),
    ("6.3", head(b"Content-Length: x", b"Transfer-Encoding: y"), BOTH),
    ("6.1", head(BODY, first=b"POST / HTTP/1.0"), CODING),
    ("6.1", head(BODY, BODY), CODING),
    ("6.1", head(b"Transfer-Encoding: chunked, chunked"), CODING),
    ("6.1", head(b"Transfer-Encoding: gzip", BODY), CODING),
    ("6.1", head(b"Transfer-Encoding: gzip, chunked"), UNKNOWN_CODING),
    ("6.1", head(b"Transfer-Encoding: gzip ,\tchunked"), UNKNOWN_CODING),
    ("6.1", head(b"Transfer-Encoding: identity, chunked"), UNKNOWN_CODING),
    ("6.3", head(b"Transfer-Encoding: chunked, gzip"), CODING),
    ("6.3", head(b"Transfer-Encoding: gzip"), CODING),
    ("6.3", head(b"Transfer-Encoding: identity"), CODING),
    ("6.3", head(b"Transfer-Encoding: xchunked"), CODING),
    ("6.3", head(b"Transfer-Encoding: chunkedx"), CODING),
    ("6.3", head(b"Transfer-Encoding: chunked;a=b"), CODING),
    ("6.3", head(b"Transfer-Encoding: ,chunked"), CODING),
    ("6.3", head(b"Transfer-Encoding: chunked,"), CODING),
    ("6.3", head(b"Transfer-Encoding: gzip,,chunked"), CODING),
    ("6.3", head(b'Transfer-Encoding: "chunked"'), CODING),
    ("6.3", head(b"Transfer-Encoding:"), CODING),
    ("6.3", head(b"Transfer-Encoding: \xa0chunked"), CODING),
    ("6.3", head(b"Transfer-Encoding: chun ked"), CODING),
    ("6.3", head(b"Content-Length: 5", first=b"GET / HTTP/1.0"), {"framing": "length", "keep_alive": False}),
]

PERSISTENCE: list[Case] = [
    ("9.3", head(), {"keep_alive": True}),
    ("9.3", head(b"Connection: close"), {"keep_alive": False}),
    ("9.3", head(b"Connection: CLOSE"), {"keep_alive": False}),
    ("9.3", head(b"Connection: a, , close"), {"keep_alive": False}),
    ("9.3", head(b"Connection: keep-alive", b"Connection: close"), {"keep_alive": False}),
    ("9.3", head(b"Connection: close, keep-alive"), {"keep_alive": False}),
    ("9.3", head(b"Connection: closed"), {"keep_alive": True}),
    ("9.3", head(b"Connection: close x"), {"keep_alive": True}),
    ("9.3", head(first=b"GET / HTTP/1.0"), {"keep_alive": False}),
    ("9.3", head(b"Connection: Keep-Alive", first=b"GET / HTTP/1.0"), {"keep_alive": True}),
    ("9.3", head(b"Proxy-Connection: keep-alive", first=b"GET / HTTP/1.0"), {"keep_alive": False}),
    ("9.3", head(b"Connection:"), {"keep_alive": True, "connection_names": False}),
    ("9.3", head(b"Connection: ,\t, "), {"keep_alive": True, "connection_names": False}),
    ("RFC 9110 7.8", head(b"Connection: Upgrade", b"Upgrade: websocket"), {"upgrade": True, "connection_names": False}),
    ("RFC 9110 7.8", head(b"Connection: keep-alive, upgrade", b"Upgrade: h2c"), {"upgrade": True}),
    ("RFC 9110 7.8", head(b"Upgrade: websocket"), {"upgrade": False}),
    ("RFC 9110 7.8", head(b"Connection: upgrade"), {"upgrade": False}),
    (
        "RFC 9110 7.8",
        head(b"Connection: upgrade", b"Upgrade: websocket", first=b"GET / HTTP/1.0"),
        {"upgrade": False},
    ),
    ("RFC 9110 10.1.1", head(b"Expect: 100-continue"), {"expect_continue": True}),
    ("RFC 9110 10.1.1", head(b"Expect: 100-Continue"), {"expect_continue": True}),
    ("RFC 9110 10.1.1", head(b"Expect: 100-continue, x"), {"expect_continue": False}),
    ("RFC 9110 10.1.1", head(b"Expect: 100-continue", first=b"GET / HTTP/1.0"), {"expect_continue": False}),
]

HOP_BY_HOP: list[Case] = [
    ("RFC 9110 7.6.1", head(b"A: b"), {"hop_by_hop": []}),
    (
        "RFC 9110 7.6.1",
        head(
            b"Connection: close",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"TE: trailers",
            b"Upgrade: x",
            b"Proxy-Authorization: Basic x",
            b"Proxy-Authenticate: Basic",
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
            b"Trailer: Vary",
        ),
        {
            "hop_by_hop": [
                (b"Connection", b"close"),
                (b"Keep-Alive", b"timeout=5"),
                (b"Proxy-Connection", b"keep-alive"),
                (b"TE", b"trailers"),
                (b"Upgrade", b"x"),
                (b"Proxy-Authorization", b"Basic x"),
                (b"Proxy-Authenticate", b"Basic"),
                (b"HTTP2-Settings", b"AAMAAABkAARAAAAAAAIAAAAA"),
            ]
        },
    ),
    ("RFC 9110 7.6.1", head(BODY), {"hop_by_hop": [(b"Transfer-Encoding", b"chunked")]}),
    (
        "RFC 9110 7.6.1",
        head(b"x-a: 1", b"Connection: X-A, \tx-b ,x-c", b"X-B: 2", b"X-D: 3", b"X-A: 4"),
        {
            "connection_names": True,
            "hop_by_hop": [
                (b"x-a", b"1"),
                (b"Connection", b"X-A, \tx-b ,x-c"),
                (b"X-B", b"2"),
                (b"X-A", b"4"),
            ],
        },
    ),
    (
        "RFC 9110 7.6.1",  # two Connection fields
        head(b"Connection: x-a", b"X-A: 1", b"X-B: 2", b"Connection: x-b"),
        {"hop_by_hop": [(b"Connection", b"x-a"), (b"X-A", b"1"), (b"X-B", b"2"), (b"Connection", b"x-b")]},
    ),
    (
        "RFC 9110 7.6.1",  # what a client must not be able to take out of the request
        head(
            b"Connection: host, content-length, cookie, x-forwarded-for, x-forwarded-proto, x-forwarded-host,"
            b"x-forwarded-port, forwarded, x-request-id, authorization, x-real-ip, expect, content-type",
            b"Content-Length: 3",
            b"Cookie: a=b",
            b"X-Forwarded-For: 192.0.2.1",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Host: a",
            b"X-Forwarded-Port: 443",
            b"Forwarded: for=192.0.2.1",
            b"X-Request-ID: 1",
            b"Authorization: Basic x",
            b"X-Real-IP: 192.0.2.1",
        ),
        {
            "connection_names": False,
            "framing": "length",
            "hop_by_hop": [
                (
                    b"Connection",
                    b"host, content-length, cookie, x-forwarded-for, x-forwarded-proto, x-forwarded-host,"
                    b"x-forwarded-port, forwarded, x-request-id, authorization, x-real-ip, expect, content-type",
                )
            ],
        },
    ),
    (
        "RFC 9110 7.6.1",
        head(b"Connection: transfer-encoding, close", BODY),
        {"framing": "chunked", "keep_alive": False},
    ),
    ("RFC 9110 7.6.1", head(b"Connection: " + b",".join(b"n%d" % i for i in range(32))), {"connection_names": True}),
    ("RFC 9110 7.6.1", head(b"Connection: " + b",".join(b"n%d" % i for i in range(33))), CONNECTION),
    (
        # names that CGI-style servers cannot tell from the real ones are kept from them
        "RFC 3875 4.1.18",
        head(b"X_Forwarded_For: 192.0.2.1", b"Content_Length: 7", b"transfer.encoding: x", b"x_other: 1", b"HOST_: a"),
        {
            "framing": "none",
            "hop_by_hop": [
                (b"X_Forwarded_For", b"192.0.2.1"),
                (b"Content_Length", b"7"),
                (b"transfer.encoding", b"x"),
            ],
        },
    ),
]

ALL: list[Case] = START_LINE + TARGETS + FIELDS + HOSTS + FRAMING + PERSISTENCE + HOP_BY_HOP
