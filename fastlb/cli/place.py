"""What all commands that ask a running fastlb have in common: where it is, how answers are shown, how they fail."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

import click

from .client import DEFAULT_SOCKET, ApiFailure, Client, find_place

R = TypeVar("R")

FAILED, WRONG = 1, 2  # exit statuses: it did not happen; what was given is wrong


class Ask:
    """The running fastlb of this command. A failure ends the program with a line and a status."""

    def __init__(self, client: Client, *, as_json: bool) -> None:
        self.client = client
        self.as_json = as_json

    def get(self, path: str, **query: object) -> Any:
        """The JSON of GET."""
        return self._or_end(lambda: self.client.get(path, **query))

    def send(self, method: str, target: str, data: Any = None) -> Any:
        """The JSON of any request."""
        return self._or_end(lambda: self.client.ask(method, target, data))

    def stream(self, target: str, silence: float = 60.0) -> Iterator[tuple[str, str]]:
        """(event, data) of a stream, until it ends or Ctrl-C."""
        try:
            yield from self.client.stream(target, silence)
        except ApiFailure as failure:
            end(failure)

    def show(self, told: Any, text: Callable[[Any], Iterable[str]]) -> None:
        """An answer: as JSON for programs, else as `text` makes it."""
        if self.as_json:
            click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        else:
            for line in text(told):
                click.echo(line)

    def _or_end(self, work: Callable[[], R]) -> R:
        try:
            return work()
        except ApiFailure as failure:
            end(failure)


def end(failure: ApiFailure) -> NoReturn:
    """Says why on standard error and leaves: status 2 when what was given is wrong, else 1."""
    click.echo(f"{click.style('error', fg='red')}: {failure}", err=True)
    for error in failure.errors:
        # a Problem's text begins with its place already
        click.echo(f"  {error.get('reason') or error.get('where', '')}", err=True)
    sys.exit(WRONG if failure.status == 422 else FAILED)


def place_options(command: Callable[..., R]) -> Callable[..., R]:
    """Adds --socket, --url, --token and --json to a command, which gets an `Ask` as its first argument."""

    @click.option(
        "--socket", "admin_socket", metavar="PATH", help=f"Admin socket, admin.socket of the file [{DEFAULT_SOCKET}]."
    )
    @click.option(
        "--url", "admin_url", metavar="URL", help="Admin interface over TCP instead, such as http://127.0.0.1:8404."
    )
    @click.option("--token", "admin_token", metavar="TOKEN", help="Bearer token for changes over TCP.")
    @click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
    @functools.wraps(command)
    def with_place(
        *args: Any,
        admin_socket: str | None,
        admin_url: str | None,
        admin_token: str | None,
        as_json: bool,
        **rest: Any,
    ) -> R:
        if admin_socket and admin_url:
            raise click.UsageError("--socket and --url exclude each other.")
        place = find_place(admin_socket or "", admin_url or "", admin_token or "")
        return command(Ask(Client(place), as_json=as_json), *args, **rest)

    return with_place
