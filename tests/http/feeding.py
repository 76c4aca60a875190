"""Feeds a case to a parser in every way that bytes can arrive, and compares what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastlb.http import Refused, RequestParser, ResponseParser

REQUEST = (
    "length", "line", "method", "known_method", "idempotent", "target", "form", "path", "query", "host", "authority",
    "port", "version", "headers", "hop_by_hop", "framing", "content_length", "keep_alive", "expect_continue", "upgrade",
    "connection_names",
)  # fmt: skip
RESPONSE = (
    "length", "status", "phrase", "version", "headers", "hop_by_hop", "framing", "content_length", "keep_alive",
    "upgrade",
)  # fmt: skip

Parser = RequestParser | ResponseParser
Outcome = tuple[int, str] | dict[str, Any] | None


def outcome(parser: Parser, pieces: Iterator[bytes] | list[bytes], *, move: bool = False) -> Outcome:
    """What the parser says after these pieces: refused (status, reason), None for incomplete, or all it has read.

    With `move` the parser is taken to other memory between the pieces, as by a connection that parks a half-read head.
    """
    for piece in pieces:
        try:
            complete = parser.feed(piece)
        except Refused as e:
            return e.status, e.reason
        if complete:
            names = REQUEST if isinstance(parser, RequestParser) else RESPONSE
            return {name: getattr(parser, name) for name in names}
        if move:
            parser._move()
    return None


def whole(make: Callable[[], Parser], raw: bytes) -> Outcome:
    return outcome(make(), [raw])


def check_every_split(make: Callable[[], Parser], raw: bytes) -> Outcome:
    """The outcome of `raw`, after asserting that no way of cutting it changes anything."""
    expected = whole(make, raw)
    one_by_one = outcome(make(), [raw[i : i + 1] for i in range(len(raw))], move=True)
    assert one_by_one == expected, f"byte by byte: {raw!r}"
    for i in range(len(raw) + 1):
        assert outcome(make(), [raw[:i], raw[i:]]) == expected, f"cut at {i}: {raw!r}"
    if isinstance(expected, dict):
        end = expected["length"]
        for tail in (b"\r\n", b"\x00", b" x: y\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            parser = make()
            assert outcome(parser, [raw[:end] + tail]) == expected, f"with {tail!r} behind: {raw!r}"
            assert parser.rest == tail
    return expected
