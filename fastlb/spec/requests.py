"""What is done to a request and its response on the way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """Changes to a message head, applied in the order remove, set, add (names are compared without case)."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.remove or self.set or self.add)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Which identity fields are written towards servers, and whose incoming ones are believed.

    An incoming field of a name that is on is kept (and appended to) only from a network in `trust`; otherwise
    it is replaced. Names that are off are stripped from untrusted clients as well.
    """

    x_forwarded_for: bool = True
    x_forwarded_proto: bool = True
    x_forwarded_host: bool = False
    x_forwarded_port: bool = False
    forwarded: bool = False  # RFC 7239
    x_request_id: bool = False
    traceparent: bool = False  # W3C Trace Context: a valid one is passed on whoever sends it, else a trace begins
    trust: tuple[str, ...] = ()  # networks, CIDR
    x_forwarded_client_cert: bool = True  # where a listener asks for client certificates; Envoy's form


@dataclass(frozen=True, slots=True)
class PathRewrite:
    """`strip_prefix` first, then `replace` of the leading `replace_prefix`, then `set`, which wins over both."""

    strip_prefix: str = ""
    replace_prefix: tuple[str, str] | None = None  # (old, new)
    set: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with Location. `location` may hold {scheme} {host} {port} {path} {query} {uri}."""

    location: str
    status: int = 302  # 301 302 303 307 308


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer a fixed response."""

    status: int = 200
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
