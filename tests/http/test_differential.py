"""What fastlb accepts, llhttp must accept and read the same way: methods, targets, fields, framing, ends."""

from __future__ import annotations

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
