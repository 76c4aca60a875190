"""Request heads: verdicts by the RFC, the same for every way the bytes arrive; limits; names found without a search."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastlb.http import Refused, RequestParser
from tests.http.feeding import check_every_split, outcome, whole
from tests.http.request_cases import ALL, Case, head

TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KNOWN = [
    b"Host", b"Connection", b"Content-Length", b"Transfer-Encoding", b"Expect", b"Upgrade", b"Keep-Alive",
    b"Proxy-Connection", b"TE", b"Trailer", b"Proxy-Authenticate", b"Proxy-Authorization", b"X-Forwarded-For",
    b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port", b"Forwarded", b"X-Request-ID", b"Cookie",
    b"Set-Cookie", b"User-Agent", b"Referer", b"Accept", b"Date", b"Retry-After", b"Content-Type",
    b"HTTP2-Settings", b"Authorization", b"X-Real-IP", b"Traceparent", b"X-Forwarded-Client-Cert",
]  # fmt: skip


def exact() -> RequestParser:
    return RequestParser(exact=True)


def label(case: Case) -> str:
    return f"{case[0]}-{case[1][:60]!r}"


@pytest.mark.parametrize("case", ALL, ids=label)
def test_case_has_its_verdict_however_it_arrives(case: Case) -> None:
    _, raw, verdict = case
    got = check_every_split(exact, raw)
    if isinstance(verdict, dict):
        assert isinstance(got, dict), got
        assert {name: got[name] for name in verdict} == verdict
    else:
        assert got == verdict


def single(build: object, allowed: bytes, at: range = range(256)) -> None:
    assert callable(build)
    for value in at:
        byte = bytes([value])
        accepted = isinstance(whole(exact, build(byte)), dict)
        assert accepted == (byte in allowed), byte


VISIBLE = bytes(range(0x21, 0x7F))
OBS_TEXT = bytes(range(0x80, 0x100))


@pytest.mark.parametrize("before", [0, 1, 7, 14, 15, 16, 31, 33])
def test_every_byte_in_a_field_value(before: int) -> None:
    single(lambda b: head(b"A: x" + b"y" * before + b + b"z"), VISIBLE + b" \t" + OBS_TEXT)


@pytest.mark.parametrize("before", [0, 1, 7, 14, 15, 16, 31, 33])
def test_every_byte_in_a_field_name(before: int) -> None:
    # a colon ends the name and is as good as any
    single(lambda b: head(b"x" + b"Y" * before + b + b"z: v"), TOKEN + b":")


@pytest.mark.parametrize("before", [0, 1, 7, 14, 15, 16, 31, 33])
def test_every_byte_in_a_path(before: int) -> None:
    visible = bytes(b for b in VISIBLE if b not in b"#")
    single(lambda b: head(first=b"GET /" + b"y" * before + b + b"z HTTP/1.1"), visible)
    single(lambda b: head(first=b"GET /?" + b"y" * before + b + b"z HTTP/1.1"), visible)


def test_every_byte_in_a_method() -> None:
    single(lambda b: head(first=b"G" + b + b"T / HTTP/1.1"), TOKEN)


def test_every_byte_in_a_host() -> None:
    unreserved = b"-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    # the colon needs a number behind it and the percent sign two digits
    single(lambda b: head(host=b"a" + b + b"b"), unreserved + b"!$&'()*+;=")


@pytest.mark.parametrize("name", KNOWN)
def test_known_names_are_found_in_any_case(name: bytes) -> None:
    # in HTTP/1.0, where Host may be absent and Transfer-Encoding is refused
    if name == b"Transfer-Encoding":
        raw, parser = head(name + b": chunked"), RequestParser()
    else:
        raw, parser = head(b"A: b", name + b": 1", first=b"GET / HTTP/1.0", host=None), RequestParser()
    for spelled in (name, name.lower(), name.upper(), name.swapcase()):
        assert parser.feed(raw.replace(name, spelled))
        assert parser.seen(name) == 1
    for near in (name[:-1], name + b"x", name[:-1] + b"z", b"z" + name[1:]):
        assert parser.feed(head(near + b": 1", host=b"h"))
        if near.lower() not in {k.lower() for k in KNOWN}:
            with pytest.raises(KeyError):
                parser.seen(near)


@given(st.lists(st.sampled_from(TOKEN), min_size=1, max_size=24).map(bytes))
def test_other_names_are_not_taken_for_known_ones(name: bytes) -> None:
    parser = RequestParser()
    assume(name.lower() not in {k.lower() for k in KNOWN})
    assert parser.feed(head(name + b": x"))
    with pytest.raises(KeyError):
        parser.seen(name)


# ---- limits --------------------------------------------------------------------------------------------------------

TOO_LONG = (414, "request target too long")
TOO_LARGE = (431, "head too large")
TOO_MANY = (431, "too many fields")


def test_target_limit_is_exact() -> None:
    def make() -> RequestParser:
        return RequestParser(uri=50, exact=True)

    assert isinstance(check_every_split(make, head(first=b"GET /" + b"x" * 49 + b" HTTP/1.1")), dict)
    assert check_every_split(make, head(first=b"GET /" + b"x" * 50 + b" HTTP/1.1")) == TOO_LONG
    assert check_every_split(make, b"GET /" + b"x" * 50) == TOO_LONG
    assert check_every_split(make, b"GET /" + b"x" * 49) is None
    assert check_every_split(make, b"GET /?" + b"x" * 48 + b"?") == TOO_LONG
    # whichever fault comes first
    assert check_every_split(make, b"GET /" + b"x" * 49 + b"\x00") == (400, "invalid request target")
    assert check_every_split(make, b"GET /" + b"x" * 50 + b"\x00") == TOO_LONG


def test_head_limit_is_exact() -> None:
    raw = head(b"A: " + b"x" * 40)

    def make(limit: int) -> RequestParser:
        return RequestParser(header_bytes=limit, exact=True)

    assert isinstance(check_every_split(lambda: make(len(raw)), raw), dict)
    assert check_every_split(lambda: make(len(raw) - 1), raw) == TOO_LARGE
    assert check_every_split(lambda: make(len(raw) - 30), raw) == TOO_LARGE
    assert check_every_split(lambda: make(len(raw) - 1), raw[:-1]) is None
    # beyond the limit nothing is looked at
    assert check_every_split(lambda: make(len(raw)), raw[:-2] + b"A: \x00") == TOO_LARGE
    assert check_every_split(lambda: make(len(raw)), raw[:-2] + b"\x00") == (400, "invalid field name")
    # a target that fills the head is a target that is too long
    assert check_every_split(lambda: make(60), b"GET /" + b"x" * 100) == TOO_LONG
    # leading empty lines count
    assert check_every_split(lambda: make(len(raw) + 1), b"\r\n" + raw) == TOO_LARGE


@pytest.mark.parametrize("limit", [0, 1, 2, 255, 256])
def test_field_limit_is_exact(limit: int) -> None:
    def make() -> RequestParser:
        return RequestParser(header_count=limit, exact=True)

    full = b"GET / HTTP/1.0\r\n" + b"a:b\r\n" * limit
    assert outcome(make(), [full + b"\r\n"]) == whole(lambda: RequestParser(header_count=256), full + b"\r\n")
    assert outcome(make(), [full + b"a:b\r\n\r\n"]) == TOO_MANY
    assert outcome(make(), [full, b"a"]) == TOO_MANY
    parser = make()
    assert outcome(parser, (bytes([b]) for b in full + b"\r\n"), move=True) is not None
    assert len(parser.headers) == limit
    assert outcome(make(), (bytes([b]) for b in full + b"a:b\r\n\r\n"), move=True) == TOO_MANY


def test_field_limit_never_exceeds_the_array() -> None:
    with pytest.raises(ValueError, match="256"):
        RequestParser(header_count=257)


def test_name_of_more_than_16_bits_is_refused() -> None:
    parser = RequestParser(header_bytes=1 << 20, exact=True)
    assert outcome(parser, [head(b"n" * 0xFFFF + b": v")]) is not None
    assert outcome(parser, [head(b"n" * 0x10000 + b": v")]) == (400, "invalid field name")


def test_long_values_and_targets_keep_their_lengths() -> None:
    parser = RequestParser(header_bytes=1 << 20, uri=1 << 20, exact=True)
    assert parser.feed(
        head(b"A: " + b"v" * 300_000, first=b"GET /" + b"p" * 200_000 + b"?" + b"q" * 70_000 + b" HTTP/1.1")
    )
    assert parser.headers[1] == (b"A", b"v" * 300_000)
    assert (len(parser.path), len(parser.query or b"")) == (200_001, 70_000)


# ---- several heads -------------------------------------------------------------------------------------------------


def test_heads_one_after_the_other_do_not_leak_into_each_other() -> None:
    parser = RequestParser()
    assert parser.feed(
        head(
            b"Connection: close, x-a",
            b"Expect: 100-continue",
            b"Content-Length: 9",
            b"X-A: 1",
            first=b"PUT /?q HTTP/1.1",
        )
    )
    assert parser.feed(head(b"X-A: 1", host=b"b"))
    fresh = RequestParser()
    assert fresh.feed(head(b"X-A: 1", host=b"b"))
    assert [
        getattr(parser, n)
        for n in ("query", "framing", "content_length", "keep_alive", "expect_continue", "hop_by_hop")
    ] == [
        getattr(fresh, n) for n in ("query", "framing", "content_length", "keep_alive", "expect_continue", "hop_by_hop")
    ]
    assert parser.headers == fresh.headers


def test_attributes_wait_for_the_whole_head() -> None:
    parser = RequestParser()
    assert not parser.feed(b"GET / HTTP/1.1\r\n")
    with pytest.raises(ValueError, match="not complete"):
        _ = parser.method
    with pytest.raises(Refused):
        parser.feed(b"\x00")
    with pytest.raises(ValueError, match="not complete"):
        _ = parser.headers


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([c[1] for c in ALL]), min_size=1, max_size=2), st.lists(st.integers(0, 200), max_size=6)
)
def test_any_cut_gives_the_same_verdict(raws: list[bytes], cuts: list[int]) -> None:
    raw = b"".join(raws)
    points = sorted({0, len(raw), *(c for c in cuts if c < len(raw))})
    pieces = [raw[a:b] for a, b in itertools.pairwise(points)]
    assert outcome(exact(), pieces, move=True) == whole(exact, raw)
