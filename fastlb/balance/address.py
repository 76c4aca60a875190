"""Addresses of servers: `host:port`, `[v6]:port` or `unix:/path`."""

from __future__ import annotations

import ipaddress
import re

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_UNIX_PATH = 107  # bytes: sun_path without its terminating zero


def _is_v6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    if re.fullmatch(r"[0-9.]+", text):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
        return True
    return len(text) <= 253 and _NAME.fullmatch(text) is not None


def _wrong(address: object, why: str, nearest: str) -> ValueError:
    return ValueError(f"address {address!r}: {why}; nearest valid: {nearest!r}")


def parse(address: object) -> tuple[str, int, str]:
    """(host, port, '') or ('', 0, path) of a server's address; ValueError naming the nearest valid one."""
    if not isinstance(address, str):
        raise _wrong(address, "must be a string", "127.0.0.1:80")
    if address.startswith("unix:"):
        path = address[5:]
        if not path.startswith("/") or "\0" in path:
            raise _wrong(address, "the path must be absolute", "unix:/" + path.replace("\0", "").lstrip("/"))
        if len(path.encode()) > _UNIX_PATH:
            raise _wrong(address, f"the path is longer than {_UNIX_PATH} bytes", "unix:" + path[:_UNIX_PATH])
        return "", 0, path
    if address.startswith("/"):
        raise _wrong(address, "a path needs unix: before it", "unix:" + address)
    if _is_v6(address):
        raise _wrong(address, "an IPv6 address needs brackets and a port", f"[{address}]:80")
    host, colon, port = address.rpartition(":")
    if not colon or (host.startswith("[") and not host.endswith("]")):
        whole = address if _is_host(address) or _is_v6(address.strip("[]")) else "127.0.0.1"
        raise _wrong(address, "has no port", f"{whole}:80")
    literal = host.startswith("[")
    if literal and not _is_v6(host[1:-1]):
        raise _wrong(address, f"{host!r} is not an IPv6 address", f"[::1]:{port if port.isdecimal() else 80}")
    if not literal and not _is_host(host):
        near = re.sub(r"[^A-Za-z0-9_.-]", "", host.rpartition("/")[2]).strip(".-")
        near = near if _is_host(near) else "127.0.0.1"
        if _is_v6(host):
            near = f"[{host}]"
        raise _wrong(address, f"{host!r} is not a host", f"{near}:{port if port.isdecimal() else 80}")
    if not (port.isascii() and port.isdecimal()) or not 1 <= int(port) <= 65535 or len(port) > 5:
        near = str(min(max(int(port), 1), 65535)) if port.isascii() and port.isdecimal() else "80"
        raise _wrong(address, "the port must be a number in 1..65535", f"{host}:{near}")
    return (host[1:-1] if literal else host), int(port), ""
