"""Routing by the letter of the rules, one route after the other: slow, for comparing with `fastlb.engine.router`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes


@dataclass(frozen=True)
class Request:
    """What routing looks at. `path` and `query` as sent; `host` without port; `client` an address or 'unix'."""

    method: str = "GET"
    host: str = "a.test"
    path: bytes = b"/"
    query: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    client: str = "unix"

    def head(self) -> bytes:
        target = self.path + (b"?" + self.query if self.query else b"")
        lines = [self.method.encode() + b" " + target + b" HTTP/1.1", b"Host: " + self.host.encode()]
        lines += [f"{name}: {value}".encode() for name, value in self.headers]
        return b"\r\n".join(lines) + b"\r\n\r\n"


def plain(path: bytes) -> bytes | None:
    """The path decoded, without dot segments and double slashes; None where servers would disagree about it."""
    if not path:
        return b"/"
    if not path.startswith(b"/"):
        return None
    letters = re.findall(rb"%[0-9a-fA-F]{2}|[\s\S]", path)
    if b"%00" in letters:
        return None
    runs: list[tuple[bool, bytes]] = []  # (an encoded slash stands in front, segment)
    empty_before: list[bool] = []
    some_empty = False
    encoded = False
    segment = b""
    first = True
    for letter in [*letters, None]:
        byte = unquote_to_bytes(letter) if letter is not None else None
        if byte is not None and byte != b"/":
            segment += byte
            continue
        if not first:
            if segment:
                runs.append((encoded, segment))
                empty_before.append(some_empty)
                encoded = False
            elif letter is not None:
                some_empty = True
        encoded = encoded or (letter is not None and letter != b"/")
        segment, first = b"", False
    any_encoded = any(len(letter) == 3 and unquote_to_bytes(letter) == b"/" for letter in letters)
    slash_after = list(_separators_after(letters))
    for i, (left, name) in enumerate(runs):
        if re.match(rb"\.\.?[;\\]", name) or b"\\.." in name:
            return None
        if name == b".." and (any_encoded or empty_before[i]):
            return None
        if name == b"." and (left or slash_after[i]):
            return None
    out: list[bytes] = []
    for _, name in runs:
        if name == b"..":
            out = out[:-1]
        elif name != b".":
            out.append(name)
    last = unquote_to_bytes(letters[-1])
    directory = last == b"/" or (bool(runs) and runs[-1][1] in (b".", b".."))
    return b"/" + b"/".join(out) + (b"/" if directory and out else b"")


def _separators_after(letters: Sequence[bytes]) -> Iterable[bool]:
    """For each segment that is not empty: whether the slash that ends it is an encoded one."""
    inside = False
    for letter in letters:
        slash = unquote_to_bytes(letter) == b"/"
        if slash and inside:
            yield len(letter) == 3
        inside = not slash
    if inside:
        yield False


def host_matches(pattern: str, host: str) -> bool:
    pattern, host = pattern.lower().removesuffix("."), host.lower().removesuffix(".")
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) >= len(pattern)
    return host == pattern


def path_matches(pattern: str, path: bytes) -> bool:
    if pattern == "*":
        return True
    if path == b"*":
        return False
    ending = ""
    if pattern.endswith("/*"):
        pattern, ending = pattern[:-2], "(/.*)?"
    elif pattern.endswith("*"):
        pattern, ending = pattern[:-1], ".*"
    pieces = [unquote_to_bytes(quote(piece, safe="/%!$&'()*+,;=:@~ ")) for piece in pattern.split("*")]
    expression = b"[^/]*".join(re.escape(piece) for piece in pieces) + ending.encode()
    return re.fullmatch(expression, path, re.DOTALL) is not None


def value_matches(pattern: str, value: bytes) -> bool:
    expression = b".*".join(re.escape(piece) for piece in pattern.encode().split(b"*"))
    return re.fullmatch(expression, value, re.DOTALL) is not None


def source_matches(networks: Sequence[str], client: str) -> bool:
    if client == "unix":
        return "unix" in networks
    address = ipaddress.ip_address(client)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in _network(n) for n in networks if n != "unix")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    mapped = re.fullmatch(r"::ffff:([0-9.]+)/(\d+)", text)
    return ipaddress.ip_network(f"{mapped[1]}/{int(mapped[2]) - 96}" if mapped else text, strict=False)


def parameters(query: bytes) -> list[tuple[bytes, bytes]]:
    pairs = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name:
            pairs.append((_decoded(name), _decoded(value)))
    return pairs


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def matches(route: Any, request: Request, path: bytes) -> bool:
    """Every condition of one route; `path` is the plain one."""
    return (
        (not route.host or any(host_matches(p, request.host) for p in route.host))
        and (not route.path or any(path_matches(p, path) for p in route.path))
        and (not route.methods or request.method in route.methods)
        and all(
            any(
                key.lower() == name.lower() and value_matches(pattern, value.strip(" \t").encode())
                for key, value in request.headers
            )
            for name, pattern in route.headers
        )
        and all(
            any(key == name.encode() and value_matches(pattern, value) for key, value in parameters(request.query))
            for name, pattern in route.query
        )
        and (not route.source or source_matches(route.source, request.client))
    )


def first_match(routes: Sequence[Any], request: Request) -> int | str | None:
    """Index of the first route that matches, None, or 'refused'."""
    path: bytes | None = b"*"
    if request.path != b"*":
        path = plain(request.path)
        if path is None:
            if any(p != "*" for route in routes for p in route.path):
                return "refused"
            path = b"/"
    assert path is not None
    for index, route in enumerate(routes):
        if matches(route, request, path):
            return index
    return None
