"""Rewritten heads against the oracle, and what must hold of every one of them whatever came in."""

from __future__ import annotations

from typing import Any

import httptools
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fastlb.http import Refused, RequestParser, ResponseParser
from fastlb.http.rewrite import RequestPlan, ResponsePlan
from fastlb.spec import Forwarded, HeaderRules, PathRewrite
from tests.oracle import rewrite as oracle
from tests.oracle.rewrite import Info
from tests.oracle.router import plain

NAMES = [
    "Accept", "X-A", "x-a", "X_A", "X-B", "Cookie", "User-Agent", "Referer", "X-Forwarded-For", "x-forwarded-for",
    "X_Forwarded_For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "X-Request-ID",
    "Keep-Alive", "Proxy-Connection", "TE", "HTTP2-Settings", "Trailer", "X-Hop", "Sec-WebSocket-Key",
    "Proxy-Authorization", "X-Forwarded-Foo", "Content_Length",
]  # fmt: skip
LISTED = ["close", "keep-alive", "Upgrade", "X-Hop", "x-a", "TE", "Cookie", "Host", "X-Forwarded-For", "Content-Length"]
value = st.text('abc ,;=:\t"%\xe9', max_size=10)
ruled_name = st.sampled_from(
    ["X-A", "x-b", "Cookie", "User-Agent", "X-New", "X-Forwarded-For", "x-forwarded-proto", "Accept"]
)
ruled = st.tuples(ruled_name, st.text("ab c", max_size=5).map(str.strip))
chain = st.lists(
    st.builds(
        HeaderRules,
        remove=st.lists(ruled_name, max_size=2).map(tuple),
        set=st.lists(ruled, max_size=2).map(tuple),
        add=st.lists(ruled, max_size=2).map(tuple),
    ),
    max_size=3,
)
hosted = st.one_of(
    st.just(()), st.sampled_from(["inner.test", "x:1"]).map(lambda h: (HeaderRules(set=(("Host", h),)),))
)
forwarded = st.one_of(st.none(), st.builds(Forwarded, *[st.booleans()] * 6))
prefix = st.sampled_from(["", "/a", "/a/b", "/a/", "/", "/\xe9", "/a%20b"])
rewrite = st.one_of(
    st.none(),
    st.builds(
        PathRewrite,
        strip_prefix=prefix,
        replace_prefix=st.one_of(st.none(), st.tuples(prefix, prefix)),
        set=st.sampled_from(["", "", "", "/set", "/set?x=1"]),
    ),
)
piece = st.sampled_from(["a", "b", "", ".", "..", "%61", "a%20b", "%C3%A9", "c%2Fd", "%2e%2e", "%3f", "x;y"])
path = st.lists(piece, max_size=5).map(lambda s: "/" + "/".join(s))
query = st.sampled_from(["", "?", "?a=b", "?a?b/../c"])
info = st.builds(
    Info,
    client=st.sampled_from(["192.0.2.1", "2001:db8::1", ""]),
    trusted=st.booleans(),
    https=st.booleans(),
    port=st.integers(0, 65535),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A sound request head, of every form a server must take."""
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]))
    method = draw(st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "PURGE"]))
    form = draw(st.sampled_from(["origin", "origin", "absolute", "asterisk"]))
    target = draw(path) + draw(query)
    if form == "absolute":
        target = (
            "http://"
            + draw(st.sampled_from(["o.test", "O.test:81", "[::1]:8080"]))
            + draw(st.sampled_from([target, "", "?q"]))
        )
    elif form == "asterisk" and method == "OPTIONS":
        target = "*"
    lines = [f"{draw(st.sampled_from(NAMES))}:{draw(value)}" for _ in range(draw(st.integers(0, 6)))]
    if version == "HTTP/1.1" or draw(st.booleans()):
        lines.append(draw(st.sampled_from(["Host: h.test", "host:h.test:8080\t", "HOST: [2001:db8::1]"])))
    body = draw(st.sampled_from(["none", "length", "zero", "chunked"]))
    if body == "length" or (body == "chunked" and version == "HTTP/1.0"):
        lines.append("content-length: 12")
    elif body == "zero":
        lines.append("Content-Length: 0")
    elif body == "chunked":
        lines.append("Transfer-Encoding: Chunked")
    for _ in range(draw(st.integers(0, 2))):
        lines.append("Connection: " + ", ".join(draw(st.lists(st.sampled_from(LISTED), max_size=3))))
    if draw(st.booleans()):
        lines.append(
            "Upgrade: " + draw(st.sampled_from(["websocket", "h2c", "h2c, websocket", "H2C", "a/1, b", "trailers"]))
        )
    if draw(st.booleans()):
        lines.append("TE: " + draw(st.sampled_from(["trailers", "gzip, Trailers", "gzip;q=1"])))
    if draw(st.booleans()):
        lines.append("Expect: 100-continue")
    lines = draw(st.permutations(lines))
    return ("\r\n".join([f"{method} {target} {version}", *lines]) + "\r\n\r\n").encode("latin-1")


def read(parser: Any, raw: bytes) -> Any:
    """The parser's opinion of exactly these bytes."""
    try:
        done = parser.feed(raw)
    except Refused as e:
        raise AssertionError(f"{e} of {raw!r}") from None
    assert done and parser.rest == b"" and parser.length == len(raw), raw
    return parser


def llhttp_headers(raw: bytes) -> list[tuple[bytes, bytes]]:
    """What an independent parser reads."""
    found: list[tuple[bytes, bytes]] = []

    class Collector:
        def on_header(self, name: bytes, value: bytes) -> None:
            found.append((name, value.strip(b" \t")))

    parser = httptools.HttpRequestParser(Collector())
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    return found


def check_request(raw: bytes, out: bytes) -> None:
    """What holds of every head that goes to a server."""
    came = read(RequestParser(header_bytes=1 << 16), raw)
    goes = read(RequestParser(header_bytes=1 << 17, header_count=256), out)
    assert goes.version == (1, 1) and goes.form in ("origin", "asterisk")
    assert goes.method == came.method
    assert (goes.framing, goes.content_length) == (came.framing, came.content_length)
    names = [name.lower() for name, _ in goes.headers]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert {name.lower() for name, _ in goes.hop_by_hop} <= {b"connection", b"upgrade", b"te", b"transfer-encoding"}
    for name, value in goes.hop_by_hop:
        allowed = {b"te": [b"trailers"], b"transfer-encoding": [b"chunked"]}
        allowed[b"connection"] = [b"Upgrade", b"TE", b"Upgrade, TE"]
        assert value in allowed.get(name.lower(), [value])
    assert not goes.upgrade or (came.upgrade and b"h2c" not in dict(goes.hop_by_hop)[b"Upgrade"].lower().split(b", "))
    assert not goes.expect_continue or came.expect_continue
    assert llhttp_headers(out) == goes.headers


@settings(max_examples=500, deadline=None)
@given(requests(), info, chain, hosted, forwarded, rewrite)
def test_request_heads_are_the_oracles(
    raw: bytes,
    about: Info,
    rules: list[HeaderRules],
    host: tuple[HeaderRules, ...],
    identity: Forwarded | None,
    paths: PathRewrite | None,
) -> None:
    plan = RequestPlan([*rules, *host], identity, paths, default_host="fallback")
    asked = {k: getattr(about, k) for k in ("client", "trusted", "https", "port", "request_id")}
    rewriting = paths is not None and not paths.set and (paths.strip_prefix or paths.replace_prefix)
    target = read(RequestParser(), raw).path
    if rewriting and target not in (b"", b"*") and plain(target) is None:
        try:
            plan.apply(raw, **asked)
        except ValueError as e:
            assert "refused" in str(e)
            return
        raise AssertionError("a path that servers read differently was rewritten")
    out = plan.apply(raw, **asked)
    assert out == oracle.request(raw, about, [*rules, *host], identity, paths, "fallback")
    check_request(raw, out)


SCRAPS = [
    b"GET", b"POST", b" ", b"/", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\n", b"\r", b"\0", b"Host:", b"h", b":",
    b"X-Forwarded-For:", b"1.2.3.4", b"Connection:", b"Upgrade", b"Upgrade:", b",", b"TE:", b"trailers", b"\t", b"\x0b",
    b"\xff", b"Content-Length:", b"5", b"chunked", b"..", b"Transfer-Encoding:", b"http://", b"?", b"%0d%0a", b"X: y",
    b"\x85", b"\x7f",
]  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.lists(st.sampled_from(SCRAPS), max_size=16),
    st.booleans(),
)
def test_no_client_can_add_a_line(parts: list[bytes], trusted: bool) -> None:
    """Whatever is accepted comes out as a sound head with as many lines as came in, and ours."""
    raw = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(parts) + b"\r\n\r\n"
    parser = RequestParser()
    try:
        assume(parser.feed(raw))
    except Refused:
        assume(False)
    raw = raw[: parser.length]
    rules = HeaderRules(set=(("X-Ours", "1"),))
    out = RequestPlan([rules], Forwarded(True, True, True, True, True, True)).apply(
        raw, client="192.0.2.1", trusted=trusted
    )
    check_request(raw, out)
    ours = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"forwarded",
            b"x-request-id", b"x-ours", b"connection", b"upgrade", b"te", b"transfer-encoding"}  # fmt: skip
    came = {name.lower() for name, _ in parser.headers}
    lines = out[:-4].split(b"\r\n")
    assert {line.split(b":")[0].lower() for line in lines[1:]} <= came | ours
    assert not any(byte in line for line in lines for byte in (b"\r", b"\n", b"\0"))


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A sound response head, and whether its body is chunked."""
    status = draw(st.sampled_from([100, 103, 101, 200, 204, 304, 404, 426, 502]))
    phrase = draw(st.sampled_from([" OK", " ", "", " Not \xe9 thing"]))
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]))
    names = ["Server", "Set-Cookie", "X-A", "x-b", "X_A", "Keep-Alive", "X-Hop", "Date", "Via", "Proxy-Authenticate"]
    lines = [f"{draw(st.sampled_from(names))}:{draw(value)}" for _ in range(draw(st.integers(0, 6)))]
    body = draw(st.sampled_from(["none", "length", "chunked"]))
    chunked = body == "chunked" and version == "HTTP/1.1" and status not in (100, 101, 103, 204, 304)
    if body == "length":
        lines.append(f"Content-Length: {0 if status < 200 or status == 204 else 12}")
    elif chunked:
        lines.append("transfer-encoding: chunked")
    if draw(st.booleans()):
        lines.append(
            "Connection: "
            + ", ".join(draw(st.lists(st.sampled_from(["close", "keep-alive", "X-Hop", "upgrade"]), max_size=3)))
        )
    if draw(st.booleans()):
        lines.append("Upgrade: " + draw(st.sampled_from(["websocket", "h2,h2c"])))
    lines = draw(st.permutations(lines))
    return ("\r\n".join([f"{version} {status}{phrase}", *lines]) + "\r\n\r\n").encode("latin-1"), chunked


@settings(max_examples=500, deadline=None)
@given(responses(), chain, st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_response_heads_are_the_oracles(
    made: tuple[bytes, bool], rules: list[HeaderRules], modern: bool, close: bool, keep: bool, dechunk: bool
) -> None:
    raw, chunked = made
    asked: dict[str, Any] = {
        "client_minor": int(modern),
        "close": close,
        "keep_alive_10": keep and not modern and not close,
        "dechunk": dechunk or not modern,
        "upgrade": True,
    }
    out = ResponsePlan(rules).apply(raw, **asked)
    goes = read(ResponseParser(header_bytes=1 << 17, header_count=256), out)
    date = dict(goes.headers).get(b"Date", b"").decode("latin-1")
    assert out == oracle.response(raw, date, rules, chunked=chunked, **asked)
    came = read(ResponseParser(), raw)
    assert goes.version == (1, 1) and goes.status == came.status
    if not (chunked and asked["dechunk"]):
        assert (goes.framing, goes.content_length) == (came.framing, came.content_length)
    assert {n.lower() for n, _ in goes.hop_by_hop} <= {b"connection", b"upgrade", b"transfer-encoding"}
