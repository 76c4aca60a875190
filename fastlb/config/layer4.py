"""Checks of frontends and backends of mode tcp: what has no meaning where there are no requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .model import Config
from .models_backends import BackendTable
from .models_frontends import FrontendTable
from .paths import Path
from .structure import Finding

Wrote = Callable[[Path, str], bool]  # whether the user's table at a path holds a key

_FRONTEND = (
    "redirect_https",
    "hsts",
    "rate_limit_headers",
    "faults",
    "abort_on_close",
    "explain",
    "forwarded",
    "limits",
    "request_headers",
    "response_headers",
)
_ROUTE = (
    "host", "path", "methods", "headers", "query", "redirect", "respond", "faults", "rewrite",
    "request_headers", "response_headers",
)  # fmt: skip
_BACKEND = ("pool", "request_headers", "response_headers")
_RETRY = ("try_timeout", "buffer", "hedge")
_REASON = 'has no meaning with mode = "tcp", which knows no requests'


def layer4(config: Config, wrote: Wrote) -> Iterator[Finding]:
    """Findings in the model's own paths."""
    for name, frontend in config.frontends.items():
        if frontend.mode == "tcp":
            yield from _frontend(("frontends", name), frontend, wrote)
            continue
        for index, listener in enumerate(frontend.listen):
            if listener.tls is not None and "h2" in listener.tls.alpn:
                path = ("frontends", name, "listen", index, "tls", "alpn")
                yield Finding(path, "HTTP/2 is not spoken", "http/1.1")
        for index in range(len(frontend.routes)):
            for key in ("sni", "alpn"):
                if wrote(("frontends", name, "routes", index), key):
                    yield Finding(("frontends", name, "routes", index, key), 'is only for mode = "tcp"')
    for name, backend in config.backends.items():
        other = config.backends.get(backend.overload.backend) if backend.overload is not None else None
        if other is not None and other.mode != backend.mode:
            reason = f"this backend's mode is {backend.mode}, the other's is {other.mode}"
            yield Finding(("backends", name, "overload", "backend"), reason)
        if backend.mode == "tcp":
            yield from _backend(("backends", name), backend, wrote)
        elif backend.tls is not None and backend.tls.alpn:
            yield Finding(("backends", name, "tls", "alpn"), 'is only for mode = "tcp"; HTTP offers http/1.1 of itself')


def _frontend(path: Path, frontend: FrontendTable, wrote: Wrote) -> Iterator[Finding]:
    yield from _without(path, _FRONTEND, wrote)
    if not wrote(path, "backend") and not wrote(path, "routes"):
        yield Finding((*path, "backend"), "this key is needed: where sessions go", missing=True)
    owners = [(path, frontend.rate_limits)]
    for index, route in enumerate(frontend.routes):
        place = (*path, "routes", index)
        owners.append((place, route.rate_limits))
        yield from _without(place, _ROUTE, wrote)
        if route.split is not None and route.split.key and route.split.key != "ip":
            yield Finding((*place, "split", "key"), 'only "ip" is known of a session', "ip")
        if route.sni or route.alpn:
            for number, listener in enumerate(frontend.listen):
                if listener.tls is not None:
                    key = "sni" if route.sni else "alpn"
                    yield Finding((*place, key), f"there is none to read: listen[{number}] ends TLS itself")
                    break
    for owner, limits in owners:
        for index, limit in enumerate(limits):
            if limit.key and list(limit.key) != ["ip"]:
                yield Finding((*owner, "rate_limits", index, "key"), 'only "ip" is known of a session')


def _backend(path: Path, backend: BackendTable, wrote: Wrote) -> Iterator[Finding]:
    yield from _without(path, _BACKEND, wrote)
    balance = backend.balance
    if balance.algorithm == "consistent_hash" and balance.key and balance.key != "ip":
        yield Finding((*path, "balance", "key"), 'only "ip" is known of a session', "ip")
    affinity = backend.affinity
    if affinity is not None and affinity.type != "table":
        yield Finding((*path, "affinity", "type"), "needs a cookie, and a session has none", "table")
    elif affinity is not None and affinity.key != "ip":
        yield Finding((*path, "affinity", "key"), 'only "ip" is known of a session', "ip")
    if backend.overload is not None and backend.overload.respond is not None:
        yield Finding((*path, "overload", "respond"), _REASON)
    yield from _without((*path, "retry"), _RETRY, wrote)


def _without(path: Path, keys: tuple[str, ...], wrote: Wrote) -> Iterator[Finding]:
    for key in keys:
        if wrote(path, key):
            yield Finding((*path, key), _REASON)
