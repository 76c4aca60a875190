"""What the patterns of a route mean, worked out when the configuration is read. Cold code: may raise ValueError.

In compiled text a byte 0 stands for `*`; no path, header or parameter of a request that is matched can hold one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import quote, unquote_to_bytes

STAR = b"\0"
LONGEST_HOST = 255
# What nearly all patterns look like, and what needs no closer look: tables may hold 100,000 of them.
PLAIN_HOST = re.compile(r"(\*?)(\.?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)")
PLAIN_PIECE = re.compile(r"[A-Za-z0-9._~/-]*")
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class PathKind(IntEnum):
    """How a path pattern is compared."""

    ANY = 0  # no condition at all; the '*' of OPTIONS passes as well
    EXACT = 1
    PREFIX = 2  # the text, or the text and '/' and anything
    GLOB = 3  # STAR is a run of bytes without '/'; at the very end, of any bytes


class ValueKind(IntEnum):
    """How a header or parameter value is compared."""

    PRESENT = 0
    EXACT = 1
    GLOB = 2  # STAR is any run of bytes


@dataclass(frozen=True, slots=True)
class PathPattern:
    """`key` is the literal head of the pattern, whole segments only: what the index finds it by."""

    kind: PathKind
    text: bytes
    key: bytes


def host_pattern(pattern: str) -> tuple[bool, bytes]:
    """(wildcard, text) of 'api.example.com' (exact), '*.example.com' (any names below, not the name itself, text with
    its leading dot) or '*' (True, b'')."""
    text = pattern.lower().removesuffix(".")
    usual = PLAIN_HOST.fullmatch(text)
    if usual and len(text) <= LONGEST_HOST and text.startswith("*.") == (text[0] in "*."):
        return bool(usual[1]), usual[2].encode("ascii")
    if text == "*":
        return True, b""
    wildcard = text.startswith("*.")
    rest = text[1:] if wildcard else text
    if "*" in rest or ".." in rest or rest in ("", ".") or rest.startswith(".") is not wildcard:
        raise ValueError(f"{pattern!r} is not a host, '*.' and a domain, or '*'")
    if "/" in rest or (":" in rest and not rest.startswith("[")) or rest.endswith("]") != rest.startswith("["):
        raise ValueError(f"{pattern!r}: a host without port is wanted")
    raw = rest.encode("ascii") if rest.isascii() else (b"." if wildcard else b"") + rest.lstrip(".").encode("idna")
    if len(raw) > LONGEST_HOST or any(byte <= 0x20 or byte == 0x7F for byte in raw):
        raise ValueError(f"{pattern!r} is not a host")
    return wildcard, raw


def path_pattern(pattern: str) -> PathPattern:
    """Compile '/a' (exact), '/a/*' (prefix, also '/a'), '/a/*/c', '/img/*.png' or '*'."""
    if pattern == "*":
        return PathPattern(PathKind.ANY, b"", b"")
    if not pattern.startswith("/"):
        raise ValueError(f"{pattern!r} is not a path: it must begin with '/'")
    if "?" in pattern or "#" in pattern:
        raise ValueError(f"{pattern!r}: a path has no query; there is a condition of its own for that")
    if "**" in pattern:
        raise ValueError(f"{pattern!r}: '**' has no meaning; '/*' at the end matches any depth")
    pieces = [_decoded(piece) for piece in pattern.split("*")]
    text = STAR.join(pieces)
    segments = text.split(b"/")[1:]
    if b"." in segments or b".." in segments or b"" in segments[:-1]:
        raise ValueError(f"{pattern!r} can never match: request paths have no dot segments or double slashes left")
    if len(pieces) == 1:
        return PathPattern(PathKind.EXACT, text, text)
    if len(pieces) == 2 and text.endswith(b"/" + STAR):
        return PathPattern(PathKind.PREFIX, pieces[0][:-1], pieces[0][:-1])
    return PathPattern(PathKind.GLOB, text, pieces[0][: pieces[0].rindex(b"/")])


def value_pattern(pattern: str) -> tuple[ValueKind, bytes]:
    """Compile the value of a header or query condition: '*' = present, 'a*b' glob, else exact."""
    if pattern == "*":
        return ValueKind.PRESENT, b""
    raw = pattern.encode("utf-8")
    if STAR in raw:
        raise ValueError(f"{pattern!r} holds a NUL")
    if b"*" not in raw:
        return ValueKind.EXACT, raw
    while b"**" in raw:
        raw = raw.replace(b"**", b"*")
    return ValueKind.GLOB, raw.replace(b"*", STAR)


def token(text: str, what: str) -> bytes:
    """A method or field name as bytes (RFC 9110 section 5.6.2)."""
    if not TOKEN.fullmatch(text):
        raise ValueError(f"{text!r} is not a {what}")
    return text.encode("ascii")


def _decoded(piece: str) -> bytes:
    if PLAIN_PIECE.fullmatch(piece):
        return piece.encode("ascii")
    raw = unquote_to_bytes(quote(piece, safe="/%!$&'()*+,;=:@~ "))
    if STAR in raw:
        raise ValueError("a path cannot hold a NUL")
    return raw
