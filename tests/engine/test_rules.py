"""Redirects and fixed responses."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fastlb.engine.rules import Answer, Redirect, Respond, https_redirect
from fastlb.http import Refused, RequestParser, ResponseParser
from fastlb.spec import HeaderRules

HSTS = HeaderRules(set=(("Strict-Transport-Security", "max-age=1"),))


def head(line: str, *lines: str) -> bytes:
    return "\r\n".join((line, *lines, "", "")).encode("latin-1")


GET = head("GET /a/b?c=d HTTP/1.1", "Host: h.test:8080")


def read(raw: bytes, method: bytes = b"GET") -> tuple[int, dict[str, str], bytes]:
    """Status, fields and body of a complete response, which the strict parser must accept."""
    parser = ResponseParser(method, header_bytes=1 << 17)
    assert parser.feed(raw), raw
    names = [name for name, _ in parser.headers]
    assert len(set(names)) == len(names)
    if parser.framing == "length":
        assert parser.content_length == len(parser.rest)
    else:
        assert parser.framing == "none" and not parser.rest
    fields = {name.decode(): value.decode() for name, value in parser.headers}
    parsedate_to_datetime(fields.pop("Date"))
    return parser.status, fields, parser.rest


def location(template: str, raw: bytes = GET, **options: bool) -> str:
    return read(Redirect(template).apply(raw, **options))[1]["Location"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("/new", "/new"),
        ("https://other.test{uri}", "https://other.test/a/b?c=d"),
        ("https://{host}{uri}", "https://h.test/a/b?c=d"),
        ("{scheme}://{host}:{port}/x{path}?{query}", "http://h.test:8080/x/a/b?c=d"),
        ("{path}/", "/a/b/"),
        ("https://t/{query}", "https://t/c=d"),
        ("https://t/caf\u00e9#frag", "https://t/caf%C3%A9#frag"),
        ("//cdn.test{path}", "//cdn.test/a/b"),
    ],
)
def test_location(template: str, expected: str) -> None:
    assert location(template) == expected


def test_location_of_other_targets() -> None:
    assert location("{port}", head("GET / HTTP/1.1", "Host: h")) == "80"
    assert location("{port}", head("GET / HTTP/1.1", "Host: h"), https=True) == "443"
    assert location("{scheme}", https=True) == "https"
    assert location("x:{uri}", head("GET http://o.test?q HTTP/1.1", "Host: h")) == "x:/?q"
    assert location("x:{host}", head("GET http://o.test/ HTTP/1.1", "Host: h")) == "x:o.test"
    assert location("x:{uri}", head("OPTIONS * HTTP/1.1", "Host: h")) == "x:/"
    assert location("x:{uri}", head("GET /a? HTTP/1.1", "Host: h")) == "x:/a?"
    assert location("x:{host}", head("GET / HTTP/1.1", "Host: [::1]:80")) == "x:[::1]"


@pytest.mark.parametrize("template", ["{path}", "{uri}", "/{path}", "{path}{path}"])
@pytest.mark.parametrize("path", ["//evil.test", "///evil.test/", "/\\evil.test", "//\\evil.test", "/%5Cevil.test"])
def test_no_path_becomes_another_host(template: str, path: str) -> None:
    raw = head(f"GET {path} HTTP/1.1", "Host: h")
    try:
        to = location(template, raw)
    except ValueError:
        return  # the parser refused the target
    assert re.match(r"/[^/\\]", to)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_status(status: int) -> None:
    redirect = Redirect("/x", status)
    assert redirect.status == status
    assert read(redirect.apply(GET)) == (status, {"Location": "/x", "Content-Length": "0"}, b"")


@pytest.mark.parametrize(
    ("template", "status"),
    [
        ("/x", 200),
        ("/x", 304),
        ("", 302),
        ("/a b", 302),
        ("/a\r\nX: y", 302),
        ("{user}", 302),
        ("/{path", 302),
        ("/}", 302),
    ],
)
def test_redirects_that_are_none(template: str, status: int) -> None:
    with pytest.raises(ValueError):
        Redirect(template, status)


def test_connection_of_answers() -> None:
    old = head("GET / HTTP/1.0", "Host: h")
    for answer in (Redirect("/x"), Respond(200, "body")):
        assert "Connection" not in read(answer.apply(GET))[1]
        assert read(answer.apply(GET, close=True))[1]["Connection"] == "close"
        assert read(answer.apply(old))[1]["Connection"] == "keep-alive"
        assert read(answer.apply(old, close=True))[1]["Connection"] == "close"


def test_redirect_to_a_host_that_was_not_named() -> None:
    old = head("GET / HTTP/1.0")
    assert read(Redirect("https://{host}/").apply(old, close=True))[0] == 400
    assert read(https_redirect(old))[0] == 400
    assert location("/x{uri}", old) == "/x/"


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308), ("PUT", 308), ("OPTIONS", 308), ("DELETE", 308)]
)
def test_https_redirect(method: str, status: int) -> None:
    raw = head(f"{method} /a?b HTTP/1.1", "Host: h.test:8080", "Content-Length: 0")
    got = read(https_redirect(raw), method.encode())
    assert got == (status, {"Location": "https://h.test/a?b", "Content-Length": "0"}, b"")


def test_respond() -> None:
    answer = Respond(503, "b\u00fcsy", "text/plain", (("Retry-After", "5"),))
    fields = {"Content-Type": "text/plain", "Retry-After": "5", "Content-Length": "5"}
    assert read(answer.apply(GET)) == (503, fields, "b\u00fcsy".encode())
    got = answer.apply(head("HEAD / HTTP/1.1", "Host: h"))
    assert got.endswith(b"\r\n\r\n") and b"Content-Length: 5\r\n" in got
    assert read(got, b"HEAD")[2] == b""
    assert answer.size >= len(answer.apply(GET))


@pytest.mark.parametrize(("status", "length"), [(204, None), (304, None), (205, "0"), (200, "0")])
def test_respond_without_content(status: int, length: str | None) -> None:
    got_status, fields, body = read(Respond(status, "" if status == 200 else "dropped").apply(GET))
    assert (got_status, fields.get("Content-Length"), body) == (status, length, b"")
    assert "Content-Type" not in fields


def test_unknown_status_has_an_empty_phrase() -> None:
    assert Respond(599).apply(GET).startswith(b"HTTP/1.1 599 \r\n")


def test_response_rules_apply_to_answers_made_here() -> None:
    assert read(Redirect("/x", 301, [HSTS]).apply(GET))[1]["Strict-Transport-Security"] == "max-age=1"
    typed = HeaderRules(set=(("content-type", "text/html"),), remove=("X-A",))
    fields = read(Respond(200, "x", headers=(("X-A", "1"),), rules=[HSTS, typed]).apply(GET))[1]
    assert fields == {"Strict-Transport-Security": "max-age=1", "content-type": "text/html", "Content-Length": "1"}
    dated = Respond(200, headers=(("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),)).apply(GET)
    assert dated.count(b"Date:") == 1


@pytest.mark.parametrize("status", [100, 199, 600, 0])
def test_respond_with_no_final_status(status: int) -> None:
    with pytest.raises(ValueError):
        Respond(status)


def test_fields_the_proxy_writes_cannot_be_set() -> None:
    for name in ("Content-Length", "Transfer-Encoding", "Connection"):
        with pytest.raises(ValueError):
            Respond(200, headers=((name, "1"),))
    with pytest.raises(ValueError):
        Respond(200, content_type="a\r\nb")


def test_answer_is_a_base_class() -> None:
    with pytest.raises(TypeError):
        Answer()


# Mostly what a parser lets pass, with line ends among it: how many pass is not what is tested.
scraps = st.lists(
    st.sampled_from(
        [b"a", b"/", b"?", b"%0d%0a", b"%", b"\\", b'"', b"<", b"{host}", b"\r\n", b"\n", b"\xff", b"'", b";"]
    ),
    max_size=8,
).map(b"".join)
host_scraps = st.lists(st.sampled_from([b"a", b".", b":80", b"%41", b"_", b"'", b"\n", b"@", b";"]), max_size=4).map(
    b"".join
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(scraps, host_scraps, st.sampled_from(["{uri}", "{path}?{query}", "https://{host}{uri}"]))
def test_no_request_adds_a_line_to_a_redirect(target: bytes, host: bytes, template: str) -> None:
    raw = b"GET /" + target + b" HTTP/1.1\r\nHost: h" + host + b"\r\n\r\n"
    parser = RequestParser()
    try:
        assume(parser.feed(raw) and not parser.rest)
    except Refused:
        assume(False)
    out = Redirect(template).apply(raw)
    status, fields, body = read(out)
    assert (status, set(fields), body) == (302, {"Location", "Content-Length"}, b"")
    assert re.fullmatch(r"[!-~]*", fields["Location"])
    assert out.count(b"\r\n") == 5 and out.count(b"\n") == 5 and out.count(b"\r") == 5
