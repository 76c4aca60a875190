"""Socket addresses as text: "host:port", "[v6]:port", "unix:/path", and for listeners also ":80" and "*:80"."""

from __future__ import annotations

import ipaddress
import re

from fastlb.spec import Address

from .suggest import Invalid, verified

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]*)(/.*)?", re.ASCII | re.IGNORECASE)
UNIX_PATH_BYTES = 107  # sockaddr_un.sun_path less its NUL
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "tcp": 0, "udp": 0}


@verified
def parse_listen(value: object) -> Address:
    """A listening address. ":80" and "*:80" listen on every address of both families. Port 0 takes a free one.

    Raises `Invalid`.
    """
    text = _text(value, ":80")
    if text.startswith("unix:"):
        return _unix(text)
    host, port = _split(text, ":80")
    if host in ("", "*"):
        host = ""
    return Address(host=_host(host, port) if host else "", port=_port(port, text, lowest=0))


@verified
def parse_server(value: object) -> Address:
    """The address of a server: a host (name or literal) and a port from 1 to 65535, or a Unix socket.

    Raises `Invalid`.
    """
    text = _text(value, "10.0.0.1:8080")
    if text.startswith("unix:"):
        return _unix(text)
    host, port = _split(text, "10.0.0.1:8080")
    if host in ("", "*"):
        raise Invalid("the address of a server needs a host", f"127.0.0.1:{port}" if port.isdecimal() else "")
    return Address(host=_host(host, port), port=_port(port, text, lowest=1))


@verified
def parse_discovered(value: object) -> Address:
    """A name that stands for servers, and their port. Raises `Invalid`."""
    address = parse_server(value)
    if address.path:
        raise Invalid("a Unix socket is one server: put it into servers")
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return address
    raise Invalid("an address is one server: put it into servers")


@verified
def parse_service(value: object) -> str:
    """A name with SRV records, such as _http._tcp.app.internal. Raises `Invalid`."""
    text = _text(value, "_http._tcp.app.internal").removeprefix("srv:")
    name, colon, port = text.rpartition(":")
    if colon and port.isdecimal():
        raise Invalid("has no port: SRV records tell it", name)
    if not _is_host(text):
        raise Invalid("not a valid name; it looks like _http._tcp.app.internal")
    return text.lower()


def _text(value: object, example: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        guess = f"{example.rpartition(':')[0]}:{value}" if 0 <= value <= 65535 else ""
        raise Invalid(f'must be an address in quotes, such as "{example}"', guess)
    if not isinstance(value, str):
        raise Invalid(f'must be an address, such as "{example}"')
    text = value.strip()
    if not text:
        raise Invalid(f'is empty; an address looks like "{example}"')
    return text


def _split(text: str, example: str) -> tuple[str, str]:
    """Host and port as text; the brackets of IPv6 are removed and what was in them is checked."""
    if scheme := _SCHEME.fullmatch(text):
        rest = scheme[2]
        default = DEFAULT_PORTS.get(scheme[1].lower(), 0)
        if rest and ":" not in rest and default:
            rest += f":{default}"
        raise Invalid("an address has no scheme and no path", rest)
    if text.startswith(("/", "unix/")):
        raise Invalid('a Unix socket is written "unix:/path"', f"unix:{text[text.index('/') :]}")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise Invalid('an IPv6 address is written "[address]:port"')
        if ":" not in host:
            raise Invalid("only an IPv6 address stands in brackets", f"{host}{rest}")
        return host, rest[1:]
    if text.count(":") > 1:
        raise Invalid('an IPv6 address is written "[address]:port"', _bracketed(text))
    host, colon, port = text.rpartition(":")
    if not colon:
        if text.isdecimal():
            raise Invalid(
                f'must be an address with a port, such as "{example}"', f"{example.rpartition(':')[0]}:{text}"
            )
        raise Invalid(f'the port is missing; an address looks like "{example}"', f"{text}:80" if _is_host(text) else "")
    return host, port


def _bracketed(text: str) -> str:
    """`::1:80` is an address of its own as well; the last group is taken for the port."""
    host, _, port = text.rpartition(":")
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return ""
    return f"[{host}]:{port}"


def _port(text: str, whole: str, *, lowest: int) -> int:
    if not (text.isascii() and text.isdecimal()):
        host = whole.rpartition(":")[0]
        names = {"http": 80, "https": 443}
        raise Invalid(
            f"the port must be a number from {lowest} to 65535", f"{host}:{names[text]}" if text in names else ""
        )
    if len(text) > 5 or not lowest <= int(text) <= 65535:
        raise Invalid(f"the port must be a number from {lowest} to 65535")
    return int(text)


def _host(text: str, port: str) -> str:
    """The host, literals in their canonical form. Raises `Invalid` for what is neither literal nor name."""
    if ":" in text:
        try:
            return str(ipaddress.IPv6Address(text))
        except ValueError:
            raise Invalid("not a valid IPv6 address") from None
    if re.fullmatch(r"[0-9.]+", text, re.ASCII):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise Invalid("not a valid IPv4 address") from None
    if not _is_host(text):
        raise Invalid("not a valid host name", _punycode(text, port))
    return text.lower()


def _is_host(text: str) -> bool:
    name = text.removesuffix(".")
    return 0 < len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))


def _punycode(text: str, port: str) -> str:
    if text.isascii():
        return ""
    try:
        return f"{text.encode('idna').decode('ascii')}:{port}"
    except UnicodeError:
        return ""


def _unix(text: str) -> Address:
    path = text.removeprefix("unix:")
    if path.startswith("@") and len(path) > 1:  # Linux: a name without a file
        return _checked_unix(path)
    if path.startswith("//"):
        raise Invalid('a Unix socket is written "unix:/path"', f"unix:/{path.lstrip('/')}")
    if not path.startswith("/") or len(path) == 1:
        raise Invalid("the path of a Unix socket must be absolute", f"unix:/{path}" if path.strip("/") else "")
    return _checked_unix(path)


def _checked_unix(path: str) -> Address:
    if any(not c.isprintable() for c in path):
        raise Invalid("the path of a Unix socket has a control character")
    if len(path.encode("utf-8", "surrogateescape")) > UNIX_PATH_BYTES:
        raise Invalid(f"the path of a Unix socket has at most {UNIX_PATH_BYTES} bytes")
    return Address(path=path)
