"""Names of a running fastlb as arguments, completed by asking it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from .client import ApiFailure, Client
from .place import given_place

if TYPE_CHECKING:
    _ParamType = click.ParamType[object]
else:
    _ParamType = click.ParamType  # not generic before click 8.4

PATIENCE = 1.0  # seconds; who presses Tab does not wait for long


class ServerName(_ParamType):
    """BACKEND/SERVER; the server by its name or address."""

    name = "server"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        backend, slash, server = str(value).partition("/")
        if not (backend and slash and server):
            self.fail(f"{value!r}: must be BACKEND/SERVER", param, ctx)
        return backend, server

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [
            CompletionItem(name, help=one["status"])
            for one in _asked(ctx, "/v1/servers", "servers")
            if (name := f"{one['backend']}/{one['name']}").startswith(incomplete)
        ]


class BackendName(_ParamType):
    """Of a backend."""

    name = "backend"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [
            CompletionItem(one["name"], help=one["algorithm"])
            for one in _asked(ctx, "/v1/backends", "backends")
            if one["name"].startswith(incomplete)
        ]


def _asked(ctx: click.Context, path: str, key: str) -> list[dict[str, Any]]:
    """What there is; nothing where nobody answers: completion says no errors."""
    try:
        found: list[dict[str, Any]] = Client(given_place(ctx), PATIENCE).get(path)[key]
    except (ApiFailure, click.UsageError):
        return []
    return found


class Seconds(_ParamType):
    """'60s', '2m', '500ms', or a number of seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from fastlb.config.suggest import Invalid
        from fastlb.config.units import duration

        if isinstance(value, float):
            return value
        text = str(value)
        try:
            return float(text) if text.isascii() and text.isdecimal() else duration(text)
        except Invalid as error:
            self.fail(f"{value!r}: {error.reason}", param, ctx)


SERVER_NAME = ServerName()
BACKEND_NAME = BackendName()
SECONDS = Seconds()
