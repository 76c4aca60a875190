"""Values of options, checked as the same values in a file are, with the same reasons and suggestions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    _ParamType = click.ParamType[object]
else:
    _ParamType = click.ParamType  # not generic before click 8.4

_NEEDS_KEY = "consistent_hash"


class _Checked(_ParamType):
    """Text that a function of `fastlb.config` accepts; handed on as it was written."""

    def __init__(self, name: str, find: Callable[[], Callable[[object], object]]) -> None:
        self.name = name
        self._find = find  # imports when it is needed

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        from fastlb.config.suggest import Invalid

        try:
            self._find()(value)
        except Invalid as error:
            hint = f"; did you mean {error.nearest!r}?" if error.nearest else ""
            self.fail(f"{value!r}: {error.reason}{hint}", param, ctx)
        return value


class _Algorithm(_Checked):
    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from fastlb.config.models_backends import ALGORITHMS

        return [CompletionItem(name) for name in ALGORITHMS if name.startswith(incomplete) and name != _NEEDS_KEY]


class _Field(_ParamType):
    """'Name: value'."""

    name = "field"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, colon, rest = str(value).partition(":")
        if not colon or not name.strip():
            self.fail(f"{value!r}: must be 'Name: value'", param, ctx)
        return name.strip(), rest.strip()


class _Workers(_ParamType):
    name = "workers"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        from fastlb.config.models_global import workers
        from fastlb.config.suggest import Invalid

        try:
            return workers(int(value) if isinstance(value, str) and value.isdecimal() else value)
        except Invalid as error:
            self.fail(f"{value!r}: {error.reason}", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem("auto")] if "auto".startswith(incomplete) else []


def _listen() -> Callable[[object], object]:
    from fastlb.config.address import parse_listen

    return parse_listen


def _server() -> Callable[[object], object]:
    from fastlb.config.address import parse_server

    return parse_server


def _algorithm() -> Callable[[object], object]:
    from fastlb.config.models_backends import algorithm
    from fastlb.config.suggest import Invalid

    def check(value: object) -> object:
        name = algorithm(value)
        if name == _NEEDS_KEY:
            raise Invalid("consistent_hash needs a key, which only a configuration file can give", "ip_hash")
        return name

    return check


LISTEN = _Checked("address", _listen)
SERVER = _Checked("address", _server)
ALGORITHM = _Algorithm("algorithm", _algorithm)
WORKERS = _Workers()
FIELD = _Field()
