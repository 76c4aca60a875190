"""Checks of socket options: where they have a meaning, and who may set them."""

from __future__ import annotations

from collections.abc import Iterator

from .layer4 import Wrote
from .model import Config
from .models_tcp import ListenTcpTable, ServerTcpTable
from .structure import Finding

_PRIVILEGED = ("mark", "source")


def sockets(config: Config, wrote: Wrote) -> Iterator[Finding]:
    """Findings in the model's own paths."""
    for name, frontend in config.frontends.items():
        for index, listener in enumerate(frontend.listen):
            path = ("frontends", name, "listen", index)
            if not wrote(path, "tcp"):
                continue
            if frontend.mode == "udp":
                yield Finding((*path, "tcp"), 'is not for mode = "udp"')
                continue
            for key in ListenTcpTable.model_fields:
                if listener.address.path and key != "backlog" and wrote((*path, "tcp"), key):
                    yield Finding((*path, "tcp", key), "has no meaning for a Unix socket")
            if not listener.tcp.v6only and not listener.address.path and listener.address.host != "::":
                reason = 'only "[::]:port" can take both families; ":port" does so with two sockets'
                yield Finding((*path, "tcp", "v6only"), reason)
    for name, backend in config.backends.items():
        place = ("backends", name)
        if not wrote(place, "tcp"):
            continue
        if backend.mode == "udp":
            yield Finding((*place, "tcp"), 'is not for mode = "udp"')
        if backend.tcp.source == "client" and backend.mode == "http":
            reason = 'is only for mode = "tcp": connections of HTTP serve many clients; see forwarded and send_proxy'
            yield Finding((*place, "tcp", "source"), reason)
        if config.global_.user:
            yield from _given_up((*place, "tcp"), backend.tcp)


def _given_up(path: tuple[str, ...], tcp: ServerTcpTable) -> Iterator[Finding]:
    for key in _PRIVILEGED:
        value = getattr(tcp, key)
        if value and (key != "source" or value == "client"):
            yield Finding((*path, key), "each connection needs CAP_NET_ADMIN for it, which global.user gives up")
