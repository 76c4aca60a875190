"""What must hold for any bytes at all. Each target takes bytes and raises AssertionError where an invariant breaks.

Invariants: a verdict does not depend on how the bytes were cut; what is accepted, llhttp reads the same way; a chunked
body is what a slow reader says; the only exception is `Refused` with a status and a reason. Under the sanitizer build
every parse works on a copy of exactly the bytes given, so that a read past them is caught.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable

from fastlb.engine.client_hello import parse as parse_hello
from fastlb.engine.proxy_protocol import parse as parse_proxy
from fastlb.http import RequestParser, ResponseParser, split_authority
from fastlb.http.canned import canned_response, prefers_json
from tests.http.feeding import Outcome, outcome
from tests.http.llhttp import check_chunked, check_request, check_response
from tests.http.test_chunked import decode, scan
from tests.oracle import client_hello, proxy_protocol
from tests.oracle.chunked import read_chunked

Target = Callable[[bytes], None]
STATUSES = {400, 414, 431, 501, 505}


def pieces(data: bytes) -> list[list[bytes]]:
    """Byte by byte (when short), and some cuts that depend on the data alone."""
    rng = random.Random(data)
    ways = [[data[i : i + 1] for i in range(len(data))]] if len(data) <= 2048 else []
    for _ in range(3):
        edges = sorted({0, len(data), *(rng.randint(0, len(data)) for _ in range(rng.randint(1, 5)))})
        ways.append([data[a:b] for a, b in itertools.pairwise(edges)])
    return ways


def same_for_every_cut(make: Callable[[], RequestParser | ResponseParser], data: bytes) -> Outcome:
    expected = outcome(make(), [data])
    for way in pieces(data):
        assert outcome(make(), way, move=True) == expected, way
    return expected


def fuzz_request_head(data: bytes) -> None:
    got = same_for_every_cut(lambda: RequestParser(exact=True), data)
    tight = same_for_every_cut(lambda: RequestParser(header_bytes=64, header_count=2, uri=16, exact=True), data)
    if isinstance(got, tuple):
        assert got[0] in STATUSES
    if isinstance(tight, dict):
        assert tight == got  # a limit refuses or changes nothing
        assert tight["length"] <= 64
        assert len(tight["headers"]) <= 2
        assert len(tight["target"]) <= 16
    if isinstance(got, dict):
        assert 0 < got["length"] <= len(data)
        assert data[: got["length"]].endswith(b"\r\n\r\n")
        # everything is a part of what was received, and the lines are all there is
        lines = [name + b":" for name, _ in got["headers"]]
        section = data[: got["length"] - 4].split(b"\r\n")[-len(lines) :] if lines else []
        assert all(a.startswith(b) for a, b in zip(section, lines, strict=True))
        assert got["framing"] == "length" or got["content_length"] == 0
        parser = RequestParser()
        assert parser.feed(data)
        check_request(data, parser)


def fuzz_response_head(data: bytes) -> None:
    got = same_for_every_cut(lambda: ResponseParser(exact=True), data)
    for method in (b"HEAD", b"CONNECT"):
        other = same_for_every_cut(lambda method=method: ResponseParser(method, exact=True), data)  # type: ignore[misc]
        assert type(other) is type(got)  # the method decides about the body, never about the head
    if isinstance(got, tuple):
        assert got[0] == 502
    if isinstance(got, dict):
        assert 100 <= got["status"] <= 599
        assert not (got["framing"] == "eof" and got["keep_alive"])
        parser = ResponseParser()
        assert parser.feed(data)
        check_response(data, parser)


def fuzz_chunked(data: bytes) -> None:
    expected = read_chunked(data)
    for way in ([data], *pieces(data)):
        verdict, body, rest = decode(way)
        assert verdict == expected.verdict, way
        checked, used = scan(way)
        assert checked == verdict
        if verdict == "end":
            assert (body, rest, used) == (expected.body, data[expected.used :], expected.used)
        elif verdict == "more":
            assert (body, used) == (expected.body, len(data))
        else:
            assert expected.body.startswith(body)
            assert used == rest  # the same reason
    check_chunked(data)


def fuzz_authority(data: bytes) -> None:
    try:
        host, port = split_authority(data)
    except ValueError:
        return
    assert data.startswith(host)
    assert 0 <= port <= 65535
    assert re.fullmatch(rb"|:0*%d" % port if port else rb"(:0*)?", data[len(host) :])
    assert re.fullmatch(rb"\[[0-9A-Fa-f:.]+\]|[-0-9A-Za-z._~!$&'()*+;=%]*", host)


def fuzz_answers(data: bytes) -> None:
    assert isinstance(prefers_json(data), bool)
    reason = data.decode("latin-1")
    for status in (100 + len(data) % 500, 405):
        for as_json in (False, True):
            raw = canned_response(status, json=as_json, reason=reason, close=True, retry_after=len(data))
            parser = ResponseParser(exact=True)
            assert parser.feed(raw)
            assert parser.status == status
            assert len(parser.rest) == parser.content_length


def fuzz_proxy_protocol(data: bytes) -> None:
    """The slow reader agrees, and bytes that are bad once stay bad."""
    before: object = None
    for end in range(len(data) + 1) if len(data) <= 512 else (len(data) // 2, len(data)):
        try:
            found = parse_proxy(data[:end])
            got: object = found and proxy_protocol.Read(**found)
        except ValueError:
            got = "bad"
        assert got == proxy_protocol.read(data[:end]), end
        assert before in (None, got), end
        before = got


def fuzz_client_hello(data: bytes) -> None:
    """The slow reader agrees at every cut, and a verdict once given stays."""
    before: object = None
    for end in range(len(data) + 1) if len(data) <= 512 else (1, 5, 9, len(data) // 2, len(data) - 1, len(data)):
        try:
            got: object = parse_hello(data[:end])
        except ValueError:
            got = "none"
        assert got == client_hello.read(data[:end]), end
        assert before in (None, got), end
        before = got


TARGETS: dict[str, Target] = {
    "request_head": fuzz_request_head,
    "response_head": fuzz_response_head,
    "chunked": fuzz_chunked,
    "authority": fuzz_authority,
    "answers": fuzz_answers,
    "proxy_protocol": fuzz_proxy_protocol,
    "client_hello": fuzz_client_hello,
}
