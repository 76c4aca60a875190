"""Response heads: verdicts by the RFC, the same for every way the bytes arrive, and limits."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlb.http import ResponseParser
from tests.http.feeding import check_every_split, outcome, whole
from tests.http.response_cases import ALL, Case, head


def label(case: Case) -> str:
    return f"{case[0]}-{case[1].decode()}-{case[2][:60]!r}"


@pytest.mark.parametrize("case", ALL, ids=label)
def test_case_has_its_verdict_however_it_arrives(case: Case) -> None:
    _, method, raw, verdict = case
    got = check_every_split(lambda: ResponseParser(method, exact=True), raw)
    if isinstance(verdict, dict):
        assert isinstance(got, dict), got
        assert {name: got[name] for name in verdict} == verdict
    elif verdict is None:
        assert got is None
    else:
        assert got == (502, verdict)


def test_head_limit_is_exact() -> None:
    raw = head(b"A: " + b"x" * 40)

    def make(limit: int) -> ResponseParser:
        return ResponseParser(header_bytes=limit, exact=True)

    assert isinstance(check_every_split(lambda: make(len(raw)), raw), dict)
    assert check_every_split(lambda: make(len(raw) - 1), raw) == (502, "head too large")
    assert check_every_split(lambda: make(20), b"HTTP/1.1 200 " + b"x" * 30) == (502, "head too large")
    assert check_every_split(lambda: make(len(raw) - 1), raw[:-1]) is None


def test_field_limit_is_exact() -> None:
    def make() -> ResponseParser:
        return ResponseParser(header_count=3, exact=True)

    assert isinstance(check_every_split(make, head(b"a: b", b"a: b", b"a: b")), dict)
    assert check_every_split(make, head(b"a: b", b"a: b", b"a: b", b"a: b")) == (502, "too many fields")


def test_heads_one_after_the_other_do_not_leak_into_each_other() -> None:
    parser = ResponseParser()
    assert parser.feed(head(b"Connection: close", b"Content-Length: 5", first=b"HTTP/1.1 200 Fine"))
    assert parser.feed(head(b"A: b", first=b"HTTP/1.1 304"))
    got = (parser.status, parser.phrase, parser.keep_alive, parser.content_length, parser.headers)
    assert got == (304, b"", True, 0, [(b"A", b"b")])


@settings(max_examples=200)
@given(st.sampled_from(ALL), st.binary(max_size=20), st.lists(st.integers(0, 200), max_size=6))
def test_any_cut_gives_the_same_verdict(case: Case, tail: bytes, cuts: list[int]) -> None:
    _, method, raw, _ = case
    raw += tail
    points = sorted({0, len(raw), *(c for c in cuts if c < len(raw))})
    pieces = [raw[a:b] for a, b in itertools.pairwise(points)]
    expected = whole(lambda: ResponseParser(method, exact=True), raw)
    assert outcome(ResponseParser(method, exact=True), pieces, move=True) == expected
