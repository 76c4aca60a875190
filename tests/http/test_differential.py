"""What fastlb accepts, llhttp must accept and read the same way: methods, targets, fields, framing, ends."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlb.http import Refused, RequestParser, ResponseParser
from tests.http import request_cases, response_cases
from tests.http.llhttp import Disagreement, check_chunked, check_request, check_response
from tests.http.strategies import accidents, request_heads, response_heads
from tests.http.test_chunked import CASES as CHUNKED


def request(raw: bytes) -> bool:
    """True when fastlb accepted it."""
    parser = RequestParser(exact=True)
    try:
        if not parser.feed(raw):
            return False
    except Refused:
        return False
    check_request(raw, parser)
    return True


def response(raw: bytes) -> bool:
    parser = ResponseParser(exact=True)
    try:
        if not parser.feed(raw):
            return False
    except Refused:
        return False
    check_response(raw, parser)
    return True


@pytest.mark.parametrize("raw", [c[1] for c in request_cases.ALL], ids=lambda r: repr(r[:60]))
def test_request_cases(raw: bytes) -> None:
    request(raw)


@pytest.mark.parametrize("raw", [c[2] for c in response_cases.ALL if c[1] == b"GET"], ids=lambda r: repr(r[:60]))
def test_response_cases(raw: bytes) -> None:
    response(raw)


@pytest.mark.parametrize("raw", [c[1] for c in CHUNKED], ids=lambda r: repr(r[:40]))
def test_chunked_cases(raw: bytes) -> None:
    check_chunked(raw)


@settings(max_examples=1500)
@given(request_heads())
def test_made_up_requests(raw: bytes) -> None:
    request(raw)


@settings(max_examples=1500)
@given(accidents(request_heads()))
def test_damaged_requests(raw: bytes) -> None:
    request(raw)


@settings(max_examples=1000)
@given(response_heads())
def test_made_up_responses(raw: bytes) -> None:
    response(raw)


@settings(max_examples=1000)
@given(accidents(response_heads()))
def test_damaged_responses(raw: bytes) -> None:
    response(raw)


@settings(max_examples=500)
@given(accidents(st.sampled_from([c[1] for c in CHUNKED if isinstance(c[2], bytes)])))
def test_damaged_chunked_bodies(raw: bytes) -> None:
    check_chunked(raw)


SPACES = [b"", b" ", b"\t", b" \t", b"\t "]
LENGTHS = [b"5", b"0", b"05", b"", b"5 5", b"4611686018427387904", b"1000000000000000000000"]
CODINGS = [b"chunked", b"CHUNKED", b"chunke", b"chunkedd", b"gzip", b"gzip, chunked", b"chunked, x", b",chunked"]
OPTIONS = [
    b"close", b"keep-alive", b"Close", b"closed", b"close x", b"x close", b"close,", b",close", b"close;q", b'"close"',
    b"keep-alive-x", b"upgrade/1", b"x%s,%sclose", b"close%s,%sx", b"keep-alive%s,%supgrade", b"keep-alive%s,%sclose",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "values"), [(b"Content-Length", LENGTHS), (b"Transfer-Encoding", CODINGS), (b"Connection", OPTIONS)]
)
def test_white_space_about_what_decides(name: bytes, values: list[bytes]) -> None:
    """It was a tab behind "chunked" that the two parsers read differently."""
    accepted = 0
    for value, before, behind, version in itertools.product(values, SPACES, SPACES, (b"1.0", b"1.1")):
        for a, b in itertools.product(SPACES, SPACES) if b"%s" in value else [(b"", b"")]:
            line = name + b":" + before + (value % (a, b) if b"%s" in value else value) + behind
            accepted += request(b"POST / HTTP/%b\r\nHost: a\r\n%b\r\n\r\n" % (version, line))
            for status in (b"200", b"204", b"304", b"100"):
                response(b"HTTP/%b %b OK\r\n%b\r\n\r\n" % (version, status, line))
    assert accepted >= 20


def test_enough_of_it_is_accepted() -> None:
    """The comparison is worth something only where messages get past the parser."""
    taken = sum(request(c[1]) for c in request_cases.ALL), sum(response(c[2]) for c in response_cases.ALL)
    assert taken[0] > 80
    assert taken[1] > 25


def test_a_disagreement_is_seen() -> None:
    parser = RequestParser()
    assert parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(Disagreement, match="target"):
        check_request(b"GET /b HTTP/1.1\r\nHost: \r\n\r\n"[: parser.length], parser)
