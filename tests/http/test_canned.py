"""Answers of fastlb's own: complete messages that an independent parser reads, and the choice between HTML and JSON."""

from __future__ import annotations

import http
import json

import httptools
import pytest

from fastlb.http import ResponseParser
from fastlb.http.canned import canned_response, phrase, prefers_json

STATUSES = [400, 404, 405, 408, 413, 414, 429, 431, 500, 501, 502, 503, 504, 505]


class Reply:
    """What llhttp reads."""

    def __init__(self, raw: bytes) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.complete = False
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(raw)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name] = value

    def on_headers_complete(self) -> None:
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("close", [False, True])
def test_message_is_complete_and_small(status: int, as_json: bool, close: bool) -> None:
    raw = canned_response(status, json=as_json, reason="no server is up", close=close, retry_after=7)
    reply = Reply(raw)
    assert reply.complete
    assert reply.parser.get_status_code() == status
    assert reply.keep_alive is not close
    assert int(reply.headers[b"Content-Length"]) == len(reply.body)
    assert reply.headers[b"Cache-Control"] == b"no-store"
    assert reply.headers[b"Retry-After"] == b"7"
    assert (b"Allow" in reply.headers) == (status == 405)
    assert len(raw) < 600
    if as_json:
        assert reply.headers[b"Content-Type"] == b"application/json"
        assert json.loads(reply.body) == {"status": status, "error": phrase(status), "reason": "no server is up"}
    else:
        assert reply.headers[b"Content-Type"] == b"text/html; charset=utf-8"
        assert b"%d %s" % (status, phrase(status).encode()) in reply.body
        assert b"no server is up." in reply.body
    own = ResponseParser()
    assert own.feed(raw)
    assert (own.framing, own.content_length, own.rest) == ("length", len(reply.body), reply.body)


@pytest.mark.parametrize("status", [100, 204, 304])
def test_no_body_where_none_belongs(status: int) -> None:
    raw = canned_response(status, reason="x", close=True, retry_after=3)
    assert raw.endswith(b"\r\n\r\n")
    assert b"Content-" not in raw
    assert (b"Connection: close" in raw) == (status >= 200)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("reason", ["<script>&\"'\\\x00\r\nX: y\x7f", "&" * 500, '"' * 500, "\u2028é", ""])
def test_reason_cannot_break_out(reason: str, as_json: bool) -> None:
    raw = canned_response(502, json=as_json, reason=reason)
    reply = Reply(raw)
    assert reply.complete
    assert b"X" not in reply.headers
    assert b"<script>" not in raw or as_json
    if as_json:
        got = json.loads(reply.body).get("reason", "")
        assert got == "".join(c if " " <= c <= "~" else "?" for c in reason[:160])
    else:
        assert reply.body.endswith(b"</html>\n")


def test_without_a_reason() -> None:
    assert json.loads(Reply(canned_response(503, json=True)).body) == {"status": 503, "error": "Service Unavailable"}
    assert b"<p>" not in canned_response(503)
    assert b"Retry-After" not in canned_response(503)


def test_phrases_are_those_of_the_registry() -> None:
    renamed = {
        413: "Content Too Large",
        414: "URI Too Long",
        416: "Range Not Satisfiable",
        422: "Unprocessable Content",
    }
    for status in http.HTTPStatus:
        expected = renamed.get(status, status.phrase)
        assert phrase(status).lower() == expected.lower(), status
    for number in (0, 99, 199, 299, 499, 599, 600, -1, 100000):
        assert phrase(number) == "Unknown"


@pytest.mark.parametrize("status", [0, 99, 600])
def test_other_statuses_are_refused(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        canned_response(status)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (b"", False),
        (b"*/*", False),
        (b"text/html", False),
        (b"application/json", True),
        (b"Application/JSON; charset=utf-8", True),
        (b"application/problem+json", True),
        (b"application/*", True),
        (b"text/html, application/json", False),
        (b"text/html;q=0.8, application/json", True),
        (b"text/html; q=0.8 , application/json;q=0.801", True),
        (b"text/html;q=0.8, application/json;q=0.79", False),
        (b"application/json;q=0", False),
        (b"application/json;q=0, */*", False),
        (b"*/*, text/html;q=0", True),
        (b"text/*;q=0.1, */*", True),
        (b"application/json, text/plain, */*", False),  # an indifferent client gets the page
        (b"application/json, text/plain, */*;q=0.5", True),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", False),
        (b'a/b;x="text/html, ;q=1", application/json', True),
        (b'a/b;x="\\"', False),
        (b";;;,,,q=1", False),
        (b"application/jsonx", False),
        (b"application/json;q=x", False),
        (b"application", False),
        (b"/json", False),
        (b"\xff\x00", False),
    ],
)
def test_choice_by_accept(accept: bytes, expected: bool) -> None:
    assert prefers_json(accept) is expected
