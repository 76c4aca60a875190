"""Message heads for property tests: sound ones, and the same ones after an accident."""

from __future__ import annotations

from hypothesis import strategies as st

TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VALUE = bytes(range(0x20, 0x7F)) + b"\t" + bytes(range(0x80, 0x100))
PATH = bytes(b for b in range(0x21, 0x7F) if b not in b"#")

tokens = st.lists(st.sampled_from(TOKEN), min_size=1, max_size=20).map(bytes)
values = st.lists(st.sampled_from(VALUE), max_size=40).map(bytes)
spaces = st.sampled_from([b"", b" ", b"\t", b"  \t "])

NAMES = [
    b"Host", b"Connection", b"Content-Length", b"Transfer-Encoding", b"Expect", b"Upgrade", b"Keep-Alive", b"TE",
    b"Proxy-Connection", b"Trailer", b"X-Forwarded-For", b"Cookie", b"Accept", b"X_Forwarded_For", b"Content_Length",
]  # fmt: skip
VALUES = [
    b"close", b"keep-alive", b"Keep-Alive, Upgrade", b"upgrade", b"websocket", b"chunked", b"gzip, chunked",
    b"chunked,", b"0", b"5", b"005", b"5, 5", b"+5", b"18446744073709551616", b"100-continue", b"a.example",
    b"a.example:80", b"[::1]", b"", b"identity", b"trailers", b"a, b",
]  # fmt: skip

methods = st.one_of(
    st.sampled_from(
        [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH", b"CONNECT", b"PURGE"]
    ),
    tokens,
)
targets = st.one_of(
    st.lists(st.sampled_from(PATH), max_size=30).map(lambda b: b"/" + bytes(b)),
    st.sampled_from([
        b"/", b"*", b"http://b.example/x?y", b"http://b.example", b"HTTPS://[::1]:8443?q", b"b.example:443", b"//a",
        b"/?a?b", b"http://u@b/", b"ws://b/", b"http://", b"/#a", b"http:/a", b"b.example", b"http://b:x/",
        b"/\xc3\xa9",
    ]),
)  # fmt: skip
fields = st.one_of(
    st.tuples(st.sampled_from(NAMES), spaces, st.sampled_from(VALUES), spaces),
    st.tuples(tokens, spaces, values, spaces),
).map(lambda f: f[0] + b":" + f[1] + f[2] + f[3])

versions = st.sampled_from(
    [b"HTTP/1.1"] * 8 + [b"HTTP/1.0"] * 3 + [b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1.10", b"http/1.1"]
)


def join(first: bytes, lines: list[bytes]) -> bytes:
    return b"\r\n".join([first, *lines, b"", b""])


@st.composite
def request_heads(draw: st.DrawFn) -> bytes:
    first = b" ".join([draw(methods), draw(targets), draw(versions)])
    lines = draw(st.lists(fields, max_size=6))
    if draw(st.integers(0, 5)):
        lines.insert(draw(st.integers(0, len(lines))), b"Host: " + draw(st.sampled_from([b"a", b"a:80", b"", b"a b"])))
    return draw(st.sampled_from([b"", b"", b"", b"\r\n"])) + join(first, lines)


@st.composite
def response_heads(draw: st.DrawFn) -> bytes:
    status = draw(
        st.sampled_from([b"200", b"100", b"101", b"103", b"204", b"304", b"404", b"503", b"599", b"600", b"99"])
    )
    phrase = draw(st.one_of(st.sampled_from([b" OK", b" ", b""]), values.map(lambda v: b" " + v)))
    version = draw(st.sampled_from([b"HTTP/1.1"] * 5 + [b"HTTP/1.0", b"HTTP/2.0"]))
    return join(version + b" " + status + phrase, draw(st.lists(fields, max_size=6)))


ODD = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b",",
    b"\x0b",
    b"\xa0",
    b"\x85",
    b"#",
    b"\r\n ",
    b"\n\n",
    b"\r\r\n",
]


@st.composite
def accidents(draw: st.DrawFn, heads: st.SearchStrategy[bytes]) -> bytes:
    """A head after up to three changes: bytes put in, taken out, overwritten or repeated."""
    raw = draw(heads)
    for _ in range(draw(st.integers(1, 3))):
        i = draw(st.integers(0, len(raw)))
        j = min(len(raw), i + draw(st.integers(0, 3)))
        what = draw(st.integers(0, 3))
        if what == 0:
            raw = raw[:i] + draw(st.sampled_from(ODD)) + raw[i:]
        elif what == 1:
            raw = raw[:i] + raw[j:]
        elif what == 2:
            raw = raw[:i] + draw(st.binary(max_size=3)) + raw[j:]
        else:
            raw = raw[:j] + raw[i:]
    return raw
