"""Checks of frontends and backends of mode udp."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .models_backends import BackendTable
from .models_frontends import FrontendTable
from .paths import Path
from .structure import Finding

Wrote = Callable[[Path, str], bool]

# What a datagram has not: a head, a connection, an encryption that we would know of.
_HTTP_KEYS = (
    "routes", "redirect_https", "rate_limits", "explain", "limits", "forwarded", "request_headers", "response_headers",
)  # fmt: skip
_BACKEND_KEYS = ("affinity", "pool", "max_queue", "shutdown_sessions", "request_headers", "response_headers")


def udp_frontend(path: Path, frontend: FrontendTable, wrote: Wrote) -> Iterator[Finding]:
    """What is wrong with one frontend for its mode."""
    if frontend.mode != "udp":
        if wrote(path, "udp"):
            yield Finding((*path, "udp"), 'is only for mode = "udp"')
        return
    for key in _HTTP_KEYS:
        if wrote(path, key):
            yield Finding((*path, key), 'is not for mode = "udp"')
    if wrote(path, "max_connections"):
        yield Finding((*path, "max_connections"), 'is not for mode = "udp": use udp = { max_flows = … }')
    if wrote(path, "timeouts"):
        yield Finding((*path, "timeouts"), 'is not for mode = "udp": use udp = { idle = … }')
    if not frontend.backend and not wrote(path, "backend"):
        yield Finding(path, "has no backend: every datagram is dropped", missing=True)
    for index, listener in enumerate(frontend.listen):
        place: Path = (*path, "listen", index)
        if listener.address.path:
            yield Finding((*place, "address"), "a Unix socket cannot take datagrams here: give host and port")
        if listener.tls is not None:
            yield Finding((*place, "tls"), "there is no TLS over datagrams here; servers can speak DTLS or QUIC")
    udp = frontend.udp
    if not udp.idle:
        yield Finding((*path, "udp", "idle"), "must be more than 0: nothing else tells that a client has gone")
    if udp.flow == "packet" and udp.requests:
        yield Finding((*path, "udp", "requests"), 'has no effect with flow = "packet", where it is 1', warning=True)


def udp_backend(path: Path, backend: BackendTable, wrote: Wrote) -> Iterator[Finding]:
    """What is wrong with one backend for its mode."""
    check = backend.health_check
    if check is not None and check.type == "udp":
        for key, value in (("send", check.send), ("receive", check.receive)):
            if value.startswith("hex:"):
                try:
                    bytes.fromhex(value[4:])
                except ValueError:
                    yield Finding((*path, "health_check", key), "after hex: pairs of hexadecimal digits are expected")
    if backend.mode != "udp":
        return
    for key in _BACKEND_KEYS:
        if wrote(path, key):
            yield Finding((*path, key), 'is not for mode = "udp"')
    if backend.balance.key and backend.balance.key != "ip":
        yield Finding((*path, "balance", "key"), "datagrams have no key but the client's address", "ip")
    for index, server in enumerate(backend.servers):
        if server.address.path:
            yield Finding((*path, "servers", index, "address"), "a server of mode udp has a host and a port")
