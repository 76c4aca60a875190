"""Heads towards servers and clients, case by case."""

from __future__ import annotations

import re
import time
from email.utils import formatdate

import pytest

from fastlb.http.http_date import format_date
from fastlb.http.identity import request_id
from fastlb.http.rewrite import RequestPlan, ResponsePlan
from fastlb.spec import Forwarded, HeaderRules, PathRewrite

ALL = Forwarded(True, True, True, True, True, True)
NONE = Forwarded(False, False)


def head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def sent(raw: bytes, plan: RequestPlan | None = None, **info: object) -> list[str]:
    """The lines a server gets."""
    out = (plan or RequestPlan()).apply(raw, **info)
    assert out.endswith(b"\r\n\r\n")
    return out.decode("latin-1").split("\r\n")[:-2]


GET = head("GET /a?b HTTP/1.1", "Host: h.test", "Accept: */*")


def test_nothing_to_do_is_a_copy() -> None:
    assert RequestPlan().apply(GET) == GET


def test_default_identity() -> None:
    assert sent(GET, RequestPlan((), Forwarded()), client="192.0.2.7") == [
        "GET /a?b HTTP/1.1",
        "Host: h.test",
        "Accept: */*",
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: http",
    ]


def test_leading_empty_lines_stay_behind() -> None:
    assert RequestPlan().apply(b"\r\n\r\n" + GET) == GET


@pytest.mark.parametrize(
    ("line", "host", "expected"),
    [
        ("GET http://x.test:81/p?q HTTP/1.1", "Host: h.test", ["GET /p?q HTTP/1.1", "Host: x.test:81"]),
        ("GET http://x.test HTTP/1.1", "Host: h.test", ["GET / HTTP/1.1", "Host: x.test"]),
        ("GET http://x.test? HTTP/1.1", "Host: h.test", ["GET /? HTTP/1.1", "Host: x.test"]),
        ("GET http://x.test?q HTTP/1.1", "Host: h.test", ["GET /?q HTTP/1.1", "Host: x.test"]),
        ("OPTIONS http://x.test HTTP/1.1", "Host: h.test", ["OPTIONS * HTTP/1.1", "Host: x.test"]),
        ("OPTIONS http://x.test/ HTTP/1.1", "Host: h.test", ["OPTIONS / HTTP/1.1", "Host: x.test"]),
        ("OPTIONS * HTTP/1.1", "Host: h.test", ["OPTIONS * HTTP/1.1", "Host: h.test"]),
        ("GET / HTTP/1.0", "Host: h.test", ["GET / HTTP/1.1", "Host: h.test"]),
        ("TRACE / HTTP/1.1", "Host: h.test", ["TRACE / HTTP/1.1", "Host: h.test"]),
        ("GET /a//b/../%2e HTTP/1.1", "Host: h.test", ["GET /a//b/../%2e HTTP/1.1", "Host: h.test"]),
    ],
)
def test_target(line: str, host: str, expected: list[str]) -> None:
    assert sent(head(line, host)) == expected


def test_host_of_a_request_that_has_none() -> None:
    raw = head("GET / HTTP/1.0", "A: b")
    assert sent(raw, RequestPlan(default_host="web")) == ["GET / HTTP/1.1", "Host: web", "A: b"]
    assert sent(raw, RequestPlan((), ALL), request_id="x", client="192.0.2.1")[-1] == "X-Request-ID: x"
    assert not any("X-Forwarded-Host" in line for line in sent(raw, RequestPlan((), ALL)))


def test_connect_has_no_form_towards_a_server() -> None:
    with pytest.raises(ValueError, match="refused"):
        RequestPlan().apply(head("CONNECT h.test:443 HTTP/1.1", "Host: h.test:443"))


def test_hop_by_hop_fields_are_removed() -> None:
    raw = head(
        "GET / HTTP/1.1", "Connection: close, X-Secret", "Host: h.test", "Keep-Alive: timeout=5", "A: 1",
        "Proxy-Connection: keep-alive", "x-secret: 1", "B: 2", "Proxy-Authorization: Basic x", "HTTP2-Settings: AAAA",
        "TE: gzip", "C: 3",
    )  # fmt: skip
    assert sent(raw) == ["GET / HTTP/1.1", "Host: h.test", "A: 1", "B: 2", "C: 3"]


@pytest.mark.parametrize("name", ["Authorization", "X-Real-IP"])
def test_rules_reach_every_name_that_the_parser_knows(name: str) -> None:
    raw = head("GET / HTTP/1.1", "Host: h.test", f"{name}: the client's", f"{name.lower()}: again")
    assert sent(raw, RequestPlan([HeaderRules(remove=(name,))])) == ["GET / HTTP/1.1", "Host: h.test"]
    own = HeaderRules(set=((name, "ours"),))
    assert sent(raw, RequestPlan([own])) == ["GET / HTTP/1.1", "Host: h.test", f"{name}: ours"]


def test_connection_cannot_take_away_what_matters() -> None:
    raw = head(
        "POST / HTTP/1.1", "Connection: Host, Content-Length, X-Forwarded-For, Expect, Cookie", "Host: h.test",
        "Content-Length: 3", "X-Forwarded-For: 10.0.0.1", "Expect: 100-continue", "Cookie: a=b",
    )  # fmt: skip
    assert sent(raw, RequestPlan((), NONE), trusted=True) == [
        "POST / HTTP/1.1", "Host: h.test", "Content-Length: 3", "X-Forwarded-For: 10.0.0.1", "Expect: 100-continue",
        "Cookie: a=b",
    ]  # fmt: skip


def test_framing_is_kept() -> None:
    chunked = head("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: ChunKed", "A: 1")
    assert sent(chunked) == ["POST / HTTP/1.1", "Host: h", "A: 1", "Transfer-Encoding: chunked"]
    length = head("POST / HTTP/1.1", "Host: h", "Content-Length: 0")
    assert RequestPlan().apply(length) == length


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Connection: Upgrade", "Upgrade: websocket"], ["Upgrade: websocket", "Connection: Upgrade"]),
        (["Connection: keep-alive, upgrade", "Upgrade: a/1, b"], ["Upgrade: a/1, b", "Connection: Upgrade"]),
        (["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"], []),
        (["Connection: Upgrade", "Upgrade: H2C, websocket"], ["Upgrade: websocket", "Connection: Upgrade"]),
        (["Connection: Upgrade", "Upgrade: a", "Upgrade: b"], ["Upgrade: a, b", "Connection: Upgrade"]),
        (["Upgrade: websocket"], []),
        (["Connection: Upgrade"], []),
        (["TE: trailers"], ["Connection: TE", "TE: trailers"]),
        (["Connection: TE", "TE: deflate;q=0.5, Trailers"], ["Connection: TE", "TE: trailers"]),
        (["TE: trailersx, x-trailers"], []),
        (
            ["Connection: Upgrade, TE", "TE: trailers", "Upgrade: websocket"],
            ["Upgrade: websocket", "Connection: Upgrade, TE", "TE: trailers"],
        ),
    ],
)
def test_connection_options_for_the_next_hop(lines: list[str], expected: list[str]) -> None:
    assert sent(head("GET / HTTP/1.1", "Host: h", *lines)) == ["GET / HTTP/1.1", "Host: h", *expected]
    assert sent(head("GET / HTTP/1.0", "Host: h", *lines)) == ["GET / HTTP/1.1", "Host: h"]


def test_expect_is_not_passed_on_for_http_10() -> None:
    lines = ("Host: h", "Expect: 100-continue", "Content-Length: 1")
    assert "Expect: 100-continue" in sent(head("POST / HTTP/1.1", *lines))
    assert "Expect: 100-continue" not in sent(head("POST / HTTP/1.0", *lines))


SPOOF = head(
    "GET / HTTP/1.1", "Host: h.test", "X-Forwarded-For: 10.9.9.9", "x-forwarded-for: , 10.8.8.8",
    "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1", "Forwarded: for=10.9.9.9",
    "X-Request-ID: theirs", "X_Forwarded_For: 10.7.7.7", "x_request-id: other", "X-Forwarded-Forx: kept",
)  # fmt: skip


def test_untrusted_clients_are_not_believed() -> None:
    bare = ["GET / HTTP/1.1", "Host: h.test", "X-Forwarded-Forx: kept"]
    assert sent(SPOOF, RequestPlan((), NONE), client="192.0.2.1") == bare
    assert sent(SPOOF, RequestPlan(), client="192.0.2.1") == bare
    assert sent(SPOOF, RequestPlan((), ALL), client="2001:db8::1", port=8443, https=True, request_id="ours") == [
        *bare,
        "X-Forwarded-For: 2001:db8::1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: h.test",
        "X-Forwarded-Port: 8443",
        'Forwarded: for="[2001:db8::1]";host="h.test";proto=https',
        "X-Request-ID: ours",
    ]


def test_trusted_proxies_are_believed() -> None:
    got = sent(SPOOF, RequestPlan((), ALL), client="192.0.2.1", trusted=True, request_id="ours")
    assert got == [
        "GET / HTTP/1.1", "Host: h.test", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1",
        "X-Request-ID: theirs", "X-Forwarded-Forx: kept",
        "X-Forwarded-For: 10.9.9.9, , 10.8.8.8, 192.0.2.1",
        'Forwarded: for=10.9.9.9, for=192.0.2.1;host="h.test";proto=http',
    ]  # fmt: skip
    # other spellings of the names are nobody's: an application behind could not tell them from the true ones
    kept = [line for line in SPOOF.decode().split("\r\n")[:-2] if "_" not in line]
    assert sent(SPOOF, RequestPlan((), NONE), trusted=True) == kept


def test_client_of_a_unix_socket() -> None:
    assert not any(line.startswith("X-Forwarded-For:") for line in sent(GET, RequestPlan((), ALL)))
    assert 'Forwarded: for=unknown;host="h.test";proto=http' in sent(GET, RequestPlan((), ALL))
    kept = sent(SPOOF, RequestPlan((), ALL), trusted=True)
    assert "X-Forwarded-For: 10.9.9.9, , 10.8.8.8" in kept


def test_request_ids_are_made_where_none_is_given() -> None:
    plan = RequestPlan((), Forwarded(False, False, x_request_id=True))
    ids = {sent(GET, plan)[-1] for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("X-Request-ID: [0-9a-f]{32}", line) for line in ids)
    many = {request_id() for _ in range(100_000)}
    assert len(many) == 100_000 and all(re.fullmatch("[0-9a-f]{32}", i) for i in list(many)[:100])


def test_rules_in_order() -> None:
    front = HeaderRules(remove=("Cookie", "X-Internal"), set=(("X-Site", "front"), ("X-A", "1")), add=(("X-B", "f"),))
    route = HeaderRules(remove=("X-A",), set=(("x-site", "route"),), add=(("X-B", "r"),))
    back = HeaderRules(add=(("Cookie", "c=d"), ("X-A", "back")), set=(("User-Agent", ""),))
    raw = head(
        "GET / HTTP/1.1", "Host: h", "Cookie: a=b", "X-Site: client", "X_Internal: 1", "x-b: client", "X-A: c",
        "User-Agent: u",
    )  # fmt: skip
    assert sent(raw, RequestPlan([front, route, back])) == [
        "GET / HTTP/1.1", "Host: h", "x-b: client", "X-B: f", "x-site: route", "X-B: r", "User-Agent: ", "Cookie: c=d",
        "X-A: back",
    ]  # fmt: skip


def test_rules_as_plain_triples() -> None:
    assert sent(GET, RequestPlan([(("accept",), (), (("A", "b"),))]))[1:] == ["Host: h.test", "A: b"]
    with pytest.raises(TypeError, match="not header rules"):
        RequestPlan([("accept",)])


def test_rules_win_over_identity_fields() -> None:
    rules = HeaderRules(remove=("X-Forwarded-For",), set=(("X-Forwarded-Proto", "https"),))
    got = sent(SPOOF, RequestPlan([rules], ALL), client="192.0.2.1", trusted=True)
    assert not any(line.lower().startswith("x-forwarded-for:") for line in got)
    assert [line for line in got if line.startswith("X-Forwarded-Proto")] == ["X-Forwarded-Proto: https"]


def test_host_by_rule() -> None:
    plan = RequestPlan([HeaderRules(set=(("host", "inner:8080"),))], ALL)
    got = sent(head("GET http://x.test/a HTTP/1.1", "Host: h"), plan, client="192.0.2.1")
    assert got[:2] == ["GET /a HTTP/1.1", "Host: inner:8080"]
    assert sum(line.lower().startswith("host:") for line in got) == 1
    assert "X-Forwarded-Host: x.test" in got


@pytest.mark.parametrize(
    "rules",
    [
        HeaderRules(remove=("Host",)),
        HeaderRules(add=(("Host", "x"),)),
        HeaderRules(set=(("Host", ""),)),
        HeaderRules(set=(("Host", "a b"),)),
        HeaderRules(set=(("Content-Length", "1"),)),
        HeaderRules(remove=("transfer-encoding",)),
        HeaderRules(add=(("Connection", "close"),)),
        HeaderRules(set=(("X", "a\r\nY: b"),)),
        HeaderRules(set=(("X", "a\nb"),)),
        HeaderRules(set=(("X", "a\0b"),)),
        HeaderRules(set=(("X\r\n", "a"),)),
        HeaderRules(set=(("X Y", "a"),)),
        HeaderRules(add=(("", "a"),)),
        HeaderRules(remove=("ä",)),
    ],
)
def test_rules_that_no_proxy_may_carry_out(rules: HeaderRules) -> None:
    with pytest.raises(ValueError):
        RequestPlan([rules])
    if not any(name.lower() == "host" for name in (*rules.remove, *(n for n, _ in rules.set + rules.add))):
        with pytest.raises(ValueError):
            ResponsePlan([rules])


STRIP = PathRewrite(strip_prefix="/api")
REPLACE = PathRewrite(replace_prefix=("/old", "/new/base"))


@pytest.mark.parametrize(
    ("rewrite", "target", "expected"),
    [
        (STRIP, "/api/x?q=1", "/x?q=1"),
        (STRIP, "/api", "/"),
        (STRIP, "/api?q", "/?q"),
        (STRIP, "/api/", "/"),
        (STRIP, "/apix/y", "/apix/y"),
        (STRIP, "/other", "/other"),
        (STRIP, "/api//x%20%2F/..%41", "//x%20%2F/..%41"),
        (STRIP, "/%61pi/x%20y", "/x%20y"),
        (STRIP, "/x/../api/a%3Bb", "/a;b"),
        (STRIP, "/api/../secret", "/api/../secret"),
        (STRIP, "/api%2Fx", "/x"),
        (STRIP, "//api/x", "/x"),
        (PathRewrite(strip_prefix="/api/"), "/api/x", "/x"),
        (PathRewrite(strip_prefix="api"), "/api/x", "/x"),
        (PathRewrite(strip_prefix="/caf\u00e9"), "/caf%C3%A9/x", "/x"),
        (PathRewrite(strip_prefix="/"), "/x", "/x"),
        (REPLACE, "/old", "/new/base"),
        (REPLACE, "/old/", "/new/base/"),
        (REPLACE, "/old/x?y", "/new/base/x?y"),
        (REPLACE, "/older", "/older"),
        (REPLACE, "/old/../../etc", "/old/../../etc"),
        (PathRewrite(replace_prefix=("/", "/app")), "/x", "/app/x"),
        (PathRewrite(replace_prefix=("/", "/app")), "/", "/app/"),
        (PathRewrite(replace_prefix=("/a", "")), "/a/x", "/x"),
        (PathRewrite(replace_prefix=("/a", "/")), "/a", "/"),
        (PathRewrite("/v1", ("/a", "/b")), "/v1/a/c", "/b/c"),
        (PathRewrite("/v1", ("/a", "/b")), "/v1/c", "/c"),
        (PathRewrite("/v1", ("/a", "/b")), "/a/c", "/b/c"),
        (PathRewrite("/v1", ("", "/b")), "/v1", "/b"),
        (PathRewrite(set="/fixed"), "/any?q=1", "/fixed?q=1"),
        (PathRewrite(set="/fixed?z=1"), "/any?q=1", "/fixed?z=1"),
        (PathRewrite(set="/caf\u00e9"), "/any", "/caf%C3%A9"),
        (PathRewrite("/any", ("/x", "/y"), "/fixed"), "/any", "/fixed"),
        (PathRewrite(), "/a//b", "/a//b"),
    ],
)
def test_path_rewriting(rewrite: PathRewrite, target: str, expected: str) -> None:
    assert (
        sent(head(f"GET {target} HTTP/1.1", "Host: h"), RequestPlan(rewrite=rewrite))[0] == f"GET {expected} HTTP/1.1"
    )


@pytest.mark.parametrize("path", ["/old/%2F../x", "/old/..;/x", "/old//../../x", "/old/%00"])
def test_rewriting_refuses_paths_that_servers_read_differently(path: str) -> None:
    with pytest.raises(ValueError, match="refused"):
        RequestPlan(rewrite=REPLACE).apply(head(f"GET {path} HTTP/1.1", "Host: h"))


@pytest.mark.parametrize(
    "rewrite",
    [PathRewrite(strip_prefix="/a b"), PathRewrite(set="x"), PathRewrite(set="/a\r\nb"), PathRewrite("/a?b")],
)
def test_rewrites_that_make_no_path(rewrite: PathRewrite) -> None:
    with pytest.raises(ValueError):
        RequestPlan(rewrite=rewrite)


# --- responses

DATE = "Date: Sun, 06 Nov 1994 08:49:37 GMT"


def answered(raw: bytes, plan: ResponsePlan | None = None, **info: object) -> list[str]:
    out = (plan or ResponsePlan()).apply(raw, **info)
    assert out.endswith(b"\r\n\r\n")
    return out.decode("latin-1").split("\r\n")[:-2]


def test_response_copy() -> None:
    raw = head("HTTP/1.1 200 OK", DATE, "Content-Length: 3", "Set-Cookie: a", "Set-Cookie: b")
    assert ResponsePlan().apply(raw) == raw


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("HTTP/1.0 200 OK", "HTTP/1.1 200 OK"),
        ("HTTP/1.1 200", "HTTP/1.1 200 "),
        ("HTTP/1.1 200 ", "HTTP/1.1 200 "),
        ("HTTP/1.1 404 Nicht da", "HTTP/1.1 404 Nicht da"),
        ("HTTP/1.0 599", "HTTP/1.1 599 "),
    ],
)
def test_status_line(line: str, expected: str) -> None:
    assert answered(head(line, DATE)) == [expected, DATE]


def test_response_hop_by_hop() -> None:
    raw = head(
        "HTTP/1.1 200 OK", "Connection: keep-alive, x-hop", DATE, "Keep-Alive: timeout=5", "X-Hop: 1", "A: 1",
        "Upgrade: h2,h2c", "Proxy-Authenticate: Basic", "Transfer-Encoding: chunked",
    )  # fmt: skip
    assert answered(raw) == ["HTTP/1.1 200 OK", DATE, "A: 1", "Transfer-Encoding: chunked"]
    assert answered(raw, dechunk=True) == ["HTTP/1.1 200 OK", DATE, "A: 1"]
    assert answered(raw, client_minor=0, close=True) == ["HTTP/1.1 200 OK", DATE, "A: 1", "Connection: close"]


def test_response_connection() -> None:
    raw = head("HTTP/1.1 200 OK", DATE, "Content-Length: 1")
    assert answered(raw, close=True)[-1] == "Connection: close"
    assert answered(raw, keep_alive_10=True, client_minor=0)[-1] == "Connection: keep-alive"


def test_upgrade_response() -> None:
    raw = head("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", "Sec-A: x")
    assert answered(raw, upgrade=True) == [
        "HTTP/1.1 101 Switching Protocols", "Sec-A: x", "Upgrade: websocket", "Connection: Upgrade",
    ]  # fmt: skip
    assert answered(raw, ResponsePlan([HeaderRules(set=(("Sec-A", "y"),))]), upgrade=True)[-1] == "Sec-A: y"


def test_upgrade_required_names_the_protocol() -> None:
    raw = head("HTTP/1.1 426 Upgrade Required", DATE, "Upgrade: websocket", "Connection: upgrade", "Content-Length: 0")
    assert answered(raw)[-2:] == ["Upgrade: websocket", "Connection: Upgrade"]
    assert answered(raw, close=True)[-1] == "Connection: Upgrade, close"
    assert answered(raw, client_minor=0, close=True)[-1] == "Connection: close"


def test_interim_responses() -> None:
    raw = head("HTTP/1.1 103 Early Hints", "Link: </a>", "Connection: close")
    plan = ResponsePlan([HeaderRules(remove=("Link",), add=(("A", "b"),))])
    assert answered(raw, plan, close=True) == ["HTTP/1.1 103 Early Hints", "Link: </a>"]


def test_lengths_that_frame_nothing() -> None:
    assert answered(head("HTTP/1.1 204 No Content", DATE, "Content-Length: 0"))[-1] == DATE
    assert answered(head("HTTP/1.1 304 Not Modified", DATE, "Content-Length: 9"))[-1] == "Content-Length: 9"
    assert answered(head("HTTP/1.1 200 OK", DATE, "Content-Length: 9"), method="HEAD")[-1] == "Content-Length: 9"


def test_response_rules() -> None:
    rules = HeaderRules(remove=("Server",), set=(("X-Frame-Options", "DENY"),), add=(("Set-Cookie", "c=1"),))
    raw = head("HTTP/1.1 200 OK", "server: x", DATE, "Set-Cookie: a", "x-frame-options: no", "X_Frame_Options: kept")
    assert answered(raw, ResponsePlan([rules])) == [
        "HTTP/1.1 200 OK", DATE, "Set-Cookie: a", "X_Frame_Options: kept", "X-Frame-Options: DENY", "Set-Cookie: c=1",
    ]  # fmt: skip


def test_date_is_added_where_it_is_missing() -> None:
    before = time.time() - 1
    line = answered(head("HTTP/1.1 200 OK"))[-1]
    assert line in {f"Date: {formatdate(before + i / 2, usegmt=True)}" for i in range(8)}
    assert answered(head("HTTP/1.1 200 OK"), ResponsePlan([HeaderRules(remove=("Date",))])) == ["HTTP/1.1 200 OK"]
    fixed = ResponsePlan([HeaderRules(set=(("Date", "x"),))])
    assert answered(head("HTTP/1.1 200 OK", DATE), fixed) == ["HTTP/1.1 200 OK", "Date: x"]


@pytest.mark.parametrize("second", [0, 951782400, 951868799, 1077926399, 4102444800, 253402300799, 784111777])
def test_dates(second: int) -> None:
    assert format_date(second) == formatdate(second, usegmt=True)


def test_many_rule_names() -> None:
    names = tuple(f"X-{'n' * (i % 70)}-{i}" for i in range(300))
    raw = head("GET / HTTP/1.1", "Host: h", *(f"{n.upper()}: 1" for n in names[:200]), "X-n-kept: 1")
    assert sent(raw, RequestPlan([HeaderRules(remove=names)])) == ["GET / HTTP/1.1", "Host: h", "X-n-kept: 1"]
