"""Compiles header rules to what the rewriters need: names to drop, and one block of lines to append.

A chain of rules (frontend, route, backend; each remove, then set, then add) has a fixed result: every name that was
removed or set anywhere loses its incoming lines, and what the chain adds and nothing later removes is a constant run
of bytes.  So the cost of a request does not depend on how many rules were written.  Cold code: may raise ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

# Fields that say how the connection or the body is delimited: the proxy writes them itself, a rule on one of them could
# only desynchronise the two sides (RFC 9110 section 7.6.1, RFC 9112 section 6).
MANAGED = frozenset(
    (
        "connection",
        "content-length",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


@runtime_checkable
class RuleSet(Protocol):
    """The shape of `fastlb.spec.HeaderRules`."""

    @property
    def remove(self) -> Sequence[str]: ...
    @property
    def set(self) -> Sequence[tuple[str, str]]: ...
    @property
    def add(self) -> Sequence[tuple[str, str]]: ...


@dataclass(frozen=True, slots=True)
class Compiled:
    """Result of a chain. `drop` holds lower-case names; `host` is the value that replaces Host (b'' = none)."""

    drop: tuple[bytes, ...]
    block: bytes
    host: bytes


def check_name(name: str) -> bytes:
    """The name as bytes, or ValueError when it is not a token (RFC 9110 section 5.1) or is not a rule's business."""
    raw = name.encode("utf-8")
    if not raw or not TOKEN.issuperset(raw):
        raise ValueError(f"{name!r} is not a field name")
    if name.lower() in MANAGED:
        raise ValueError(f"{name}: the proxy writes this field itself, rules cannot change it")
    return raw


def check_value(name: str, value: str) -> bytes:
    """The value without surrounding white space, or ValueError when it holds control bytes (RFC 9110 section 5.5)."""
    raw = value.encode("utf-8").strip(b" \t")
    if any((byte < 0x20 and byte != 9) or byte == 0x7F for byte in raw):
        raise ValueError(f"value of {name} holds a control character")
    return raw


def compile_chain(rules: Iterable[object], *, request: bool) -> Compiled:
    """Compose a chain of rule sets, applied in the order given.

    Each is an object with `remove`, `set`, `add` (as `HeaderRules`) or a plain triple of them.  Rules on Host are for
    requests only, and only `set`: a request has exactly one (RFC 9112 section 3.2).
    """
    drop: dict[bytes, None] = {}
    lines: list[tuple[bytes, bytes, bytes]] = []  # lower-case name, name, value
    host = b""
    for item in rules:
        remove, setting, adding = _parts(item)
        for name in remove:
            key = check_name(name).lower()
            if request and key == b"host":
                raise ValueError("Host cannot be removed from a request")
            drop[key] = None
            lines = [line for line in lines if line[0] != key]
        for name, value in setting:
            raw = check_name(name)
            key = raw.lower()
            if request and key == b"host":
                host = _check_host(value)
                continue
            drop[key] = None
            lines = [line for line in lines if line[0] != key]
            lines.append((key, raw, check_value(name, value)))
        for name, value in adding:
            raw = check_name(name)
            if request and raw.lower() == b"host":
                raise ValueError("a request has exactly one Host: use set")
            lines.append((raw.lower(), raw, check_value(name, value)))
    block = b"".join(b"%b: %b\r\n" % (name, value) for _, name, value in lines)
    return Compiled(tuple(drop), block, host)


def _parts(item: object) -> tuple[Sequence[str], Sequence[tuple[str, str]], Sequence[tuple[str, str]]]:
    if isinstance(item, RuleSet):
        return item.remove, item.set, item.add
    if isinstance(item, tuple) and len(item) == 3:
        return item
    raise TypeError(f"not header rules: {item!r}")


def _check_host(value: str) -> bytes:
    raw = check_value("Host", value)
    if not raw or any(byte <= 0x20 or byte >= 0x7F or byte in b"/?#@\\" for byte in raw):
        raise ValueError(f"{value!r} is not a host")
    return raw
