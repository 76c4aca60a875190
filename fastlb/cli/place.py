"""What all commands that ask a running fastlb have in common: where it is, how answers are shown, how they fail."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import click

from .client import DEFAULT_SOCKET, WRONG, ApiFailure, Client, Place, Wanted, find_place

R = TypeVar("R")

NOT_FOUND = 404
STATUS_FAILED, STATUS_WRONG = 1, 2  # exit statuses: it did not happen; what was given is wrong


class Ask:
    """The running fastlb of this command. A failure ends the program with a line and a status."""

    def __init__(self, client: Client, *, as_json: bool, file: str = "") -> None:
        self.client = client
        self.file = file  # the configuration that said where to ask
        self.as_json = as_json

    def get(self, path: str, **query: object) -> Any:
        """The JSON of GET."""
        return self._or_end(lambda: self.client.get(path, **query))

    def send(self, method: str, target: str, data: Any = None) -> Any:
        """The JSON of any request."""
        return self._or_end(lambda: self.client.ask(method, target, data))

    def attempt(self, method: str, target: str, data: Any = None) -> tuple[Any, int]:
        """(JSON, 0), or (None, exit status) with the failure told."""
        try:
            return self.client.ask(method, target, data), 0
        except ApiFailure as failure:
            return None, tell(failure)

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


def tell(failure: ApiFailure) -> int:
    """Says why on standard error; the exit status: 2 when what was given is wrong, else 1."""
    click.echo(f"{click.style('error', fg='red')}: {failure}", err=True)
    for error in failure.errors:
        # a Problem's text begins with its place already
        click.echo(f"  {error.get('reason') or error.get('where', '')}", err=True)
    return STATUS_WRONG if failure.status in (WRONG, NOT_FOUND) else STATUS_FAILED


def end(failure: ApiFailure) -> NoReturn:
    """The same, and leaves."""
    sys.exit(tell(failure))


def place_options(
    command: Callable[..., R] | None = None, *, file_option: bool = True, hint: str = ""
) -> Callable[..., Any]:
    """Adds -c, --socket, --url, --token, --token-file and --json to a command, which gets an `Ask` first.

    What a group above was given holds where the command was given nothing. `file_option` false leaves -c to the
    command; `hint` names the argument with a file to look into where nothing says where to ask.
    """
    if command is None:
        return functools.partial(place_options, file_option=file_option, hint=hint)
    run = command

    @_options
    @functools.wraps(run)
    def with_place(*args: Any, as_json: bool, **rest: Any) -> R:
        context = click.get_current_context()
        wanted = _taken(rest, file_option=file_option)
        while context.parent is not None:
            context = context.parent
            if isinstance(context.obj, _Given):
                wanted, as_json = wanted.or_else(context.obj.wanted), as_json or context.obj.as_json
        try:
            place = find_place(wanted, rest.get(hint) or "")
        except ApiFailure as failure:
            end(failure)
        return run(Ask(Client(place), as_json=as_json, file=wanted.file), *args, **rest)

    return _FILE(with_place) if file_option else with_place


def group_options(group: Callable[..., None]) -> Callable[..., Any]:
    """Adds the same options to a group, for all its commands."""

    @_FILE
    @_options
    @functools.wraps(group)
    def with_options(*args: Any, as_json: bool, **rest: Any) -> None:
        context = click.get_current_context()
        context.obj = _Given(_taken(rest, file_option=True), as_json)
        group(*args, **rest)

    return with_options


def given_place(context: click.Context) -> Place:
    """Where completion may ask, from what stands on the line so far. Raises ApiFailure."""
    wanted = Wanted()
    at: click.Context | None = context
    while at is not None:
        wanted = wanted.or_else(_taken(dict(at.params), file_option=at.info_name != "explain"))
        at = at.parent
    return find_place(wanted)


@dataclass(frozen=True, slots=True)
class _Given:
    """What a group was told."""

    wanted: Wanted
    as_json: bool


_NAMES = ("admin_socket", "admin_url", "admin_token", "admin_token_file")
_FILE = click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The configuration, whose [admin] says where to ask.",
)


def _options(command: Callable[..., R]) -> Callable[..., R]:
    path = click.Path(dir_okay=False)
    for option in (
        click.option("--json", "as_json", is_flag=True, help="JSON for programs."),
        click.option(
            "--token-file", "admin_token_file", type=path, metavar="FILE", help="File that holds the bearer token."
        ),
        click.option("--token", "admin_token", metavar="TOKEN", help="The token itself; other users may see it in ps."),
        click.option("--url", "admin_url", metavar="URL", help="Admin interface over TCP: http://127.0.0.1:8404."),
        click.option("--socket", "admin_socket", type=path, metavar="PATH", help=f"Admin socket [{DEFAULT_SOCKET}]."),
    ):
        command = option(command)
    return command


def _taken(values: dict[str, Any], *, file_option: bool) -> Wanted:
    """Takes the options out of the arguments of a command."""
    socket, url, token, token_file = (values.pop(name, None) or "" for name in _NAMES)
    file = (values.pop("file", None) or "") if file_option else ""
    ways = [name for name, used in (("-c", file), ("--socket", socket), ("--url", url)) if used]
    if len(ways) > 1:
        raise click.UsageError(f"{' and '.join(ways)} exclude each other.")
    return Wanted(file, socket, url, token, token_file)
