"""`fastlb ctl`, `fastlb reload`, `fastlb diff` and `fastlb upgrade`: what an operator asks of a running fastlb."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click

from . import tables, tables_traffic
from .client import server_path
from .names import BACKEND_NAME, SECONDS, SERVER_NAME
from .output import print_lines, safe
from .place import STATUS_FAILED, STATUS_WRONG, Ask, group_options, place_options

STATES = ("ready", "drain", "maint")
LOOK = 0.2  # seconds between two looks whether a server has nothing in flight any more
UPGRADE_TIMEOUT = 150.0  # seconds; more than the new process gets to become ready
INTERRUPTED = 130  # what a shell calls the end by Ctrl-C


@click.group()
@group_options
def ctl() -> None:
    """Show and change a running fastlb.

    Asks the admin interface: -c FILE takes it from the configuration, else --socket, --url, or FASTLB_URL,
    FASTLB_SOCKET, FASTLB_CONFIG of the environment, else /run/fastlb.sock. Changes over a URL need the token:
    --token-file, FASTLB_TOKEN or FASTLB_TOKEN_FILE.

    \b
    fastlb ctl show servers
    fastlb ctl server drain app/web1 --reason 'kernel update' --wait 60s
    fastlb ctl server ready app/web1

    Exit status: 0 done, 1 not done (nobody there, refused, no permission), 2 what was given is wrong.
    """


# ---- show


@ctl.group()
def show() -> None:
    """Show the state of something."""


def _shows(name: str, path: str, text: Callable[[Any], Iterable[str]], about: str) -> None:
    """A command that shows what one address of the API answers."""

    @show.command(name, help=about)
    @place_options
    def command(ask: Ask) -> None:
        ask.show(ask.get(path), text)


_shows("info", "/v1/info", tables.info, "The program: version, totals, workers.")
_shows("frontends", "/v1/frontends", tables.frontends, "What listens, with rates and latencies.")
_shows("backends", "/v1/backends", tables.backends, "The groups of servers.")
_shows("routes", "/v1/routes", tables.routes, "What requests are matched with, in order.")
_shows("workers", "/v1/workers", tables.workers, "The processes that carry the traffic.")
_shows("errors", "/v1/errors", tables.errors, "The last malformed message of each frontend and backend.")
_shows("auth", "/v1/auth", tables_traffic.auth, "What each table of [auth] decided.")
_shows("mirrors", "/v1/mirrors", tables_traffic.mirrors, "Where the answers of mirrors differ from the real ones.")
_shows("certificates", "/v1/certificates", tables.certificates, "The certificates in use, and until when they last.")
_shows("changes", "/v1/changes", tables.changes, "What was changed at run time and is in force.")
_shows("config", "/v1/config", tables.config, "The configuration that runs, with every default.")


@show.command()
@click.argument("backend", required=False, type=BACKEND_NAME)
@click.option("--state", type=click.Choice(("UP", "DOWN", "EJECTED", "DRAIN", "MAINT"), case_sensitive=False))
@click.option("--limit", type=click.IntRange(1, 1000), default=1000, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0)
@place_options
def servers(ask: Ask, backend: str | None, state: str | None, limit: int, offset: int) -> None:
    """All servers, or those of one backend."""
    path = f"/v1/backends/{quote(backend, safe='')}/servers" if backend else "/v1/servers"
    ask.show(ask.get(path, state=state, limit=limit, offset=offset), tables.servers)


@show.command()
@click.option("--frontend", metavar="NAME", help="Of this one alone.")
@click.option(
    "--state",
    type=click.Choice(("idle", "sending", "queued", "waiting", "receiving", "tunnel", "closing", "flow")),
    help="In this state alone.",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@place_options
def connections(ask: Ask, frontend: str | None, state: str | None, limit: int) -> None:
    """Connections of clients, the longest requests first."""
    ask.show(ask.get("/v1/connections", frontend=frontend, state=state, limit=limit), tables.connections)


def _events(ask: Ask, number: int, *, follow: bool) -> None:
    found = ask.get("/v1/events", limit=number)
    if not follow:
        ask.show(found, tables.events)
        return

    def line(told: Any) -> str:
        return json.dumps(told, ensure_ascii=False) if ask.as_json else tables.event(told)

    with _until_interrupted():
        print_lines(map(line, found["events"]))
        for _, data in ask.stream(f"/v1/events?{urlencode({'after': found['last']})}"):
            print_lines([line(json.loads(data))])
    _ended()


_NUMBER = click.option("-n", "--lines", "number", type=click.IntRange(1, 1000), default=50, show_default=True)
_FOLLOW = click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")


@show.command("events")
@_NUMBER
@place_options
def show_events(ask: Ask, number: int) -> None:
    """What happened lately."""
    _events(ask, number, follow=False)


@ctl.command()
@_NUMBER
@_FOLLOW
@place_options
def events(ask: Ask, number: int, *, follow: bool) -> None:
    """What happened lately: servers, workers, reloads."""
    _events(ask, number, follow=follow)


@ctl.command()
@place_options
def certificates(ask: Ask) -> None:
    """Have the files of all certificates read again; nothing else is touched."""
    _answered(ask, ask.send("POST", "/v1/certificates/reload", {}))


@ctl.command()
@click.option("-n", "--lines", "number", type=click.IntRange(0, 1000), default=20, show_default=True)
@_FOLLOW
@place_options
def logs(ask: Ask, number: int, *, follow: bool) -> None:
    """The last lines of the access log over all workers. Needs the socket or the token."""
    if not follow:
        told = ask.get("/v1/logs", lines=number)
        ask.show(told, lambda told: map(safe, told["lines"]))
        return
    with _until_interrupted():
        for event, data in ask.stream(f"/v1/logs?{urlencode({'lines': number})}"):
            if event == "lost":
                click.echo(f"{data} lines are missing here: they came faster than they were read", err=True)
            else:
                print_lines([safe(data)])
    _ended()


@ctl.command()
@place_options
def errors(ask: Ask) -> None:
    """The last malformed message of each frontend and backend. Needs the socket or the token."""
    ask.show(ask.get("/v1/errors"), tables.errors)


@ctl.command()
@place_options
def mirrors(ask: Ask) -> None:
    """Where the answers of mirrors differ from the real ones. Needs the socket or the token."""
    ask.show(ask.get("/v1/mirrors"), tables_traffic.mirrors)


# ---- servers


@ctl.group()
def server() -> None:
    """Change servers. SERVER is BACKEND/NAME or BACKEND/ADDRESS."""


_REASON = click.option("--reason", metavar="TEXT", default="", help="For events and logs.")
_SERVERS = click.argument("servers", metavar="SERVER...", nargs=-1, required=True, type=SERVER_NAME)
_WAIT = click.option(
    "--wait", type=SECONDS, metavar="TIME", help="Return when nothing is in flight on them; status 1 after TIME."
)
Names = tuple[tuple[str, str], ...]


def _change(ask: Ask, names: Names, **change: object) -> list[Any]:
    """Changes each; says so; returns them as they are then. One that fails ends the command after the others."""
    done, status = [], 0
    for backend, name in names:
        told, failure = ask.attempt("PATCH", server_path(backend, name), change)
        if failure:
            status = max(status, failure)
        else:
            done.append(told)
    if ask.as_json:
        ask.show({"servers": done}, list)
    else:
        for one in done:
            weight = f"weight {one['weight']}, {one['in_flight']} in flight"
            click.echo(f"{safe(one['backend'])}/{safe(one['name'])}: {one['state']}, {weight}")
    if status:
        sys.exit(status)
    return done


def _wait(ask: Ask, servers: list[Any], within: float) -> None:
    until = time.monotonic() + within
    left = servers
    while left:
        # by address: it is the identity, and a reload may have changed the name
        left = [one for one in left if ask.get(server_path(one["backend"], one["address"]))["in_flight"]]
        if not left:
            return
        if time.monotonic() >= until:
            busy = ", ".join(f"{one['backend']}/{one['name']}" for one in left)
            click.echo(f"still in flight after {within:g} s: {safe(busy)}", err=True)
            sys.exit(STATUS_FAILED)
        time.sleep(LOOK)


def _sets(state: str, about: str) -> None:
    @server.command(state, help=about)
    @_SERVERS
    @_REASON
    @_WAIT
    @place_options
    def one(ask: Ask, servers: Names, reason: str, wait: float | None) -> None:
        done = _change(ask, servers, state=state, reason=reason)
        if wait is not None:
            _wait(ask, done, wait)

    @backend.command(state, help=f"All servers of it. {about}")
    @click.argument("name", metavar="BACKEND", type=BACKEND_NAME)
    @_REASON
    @_WAIT
    @place_options
    def all_of(ask: Ask, name: str, reason: str, wait: float | None) -> None:
        found = ask.get(f"/v1/backends/{quote(name, safe='')}/servers")["servers"]
        done = _change(ask, tuple((name, told["address"]) for told in found), state=state, reason=reason)
        if wait is not None:
            _wait(ask, done, wait)


@ctl.group()
def backend() -> None:
    """Change all servers of a backend."""


_sets("ready", "May get requests.")
_sets("drain", "No new requests; what is in flight ends as it began.")
_sets("maint", "The same, shown as maintenance.")


@server.command("show")
@click.argument("name", metavar="SERVER", type=SERVER_NAME)
@place_options
def show_server(ask: Ask, name: tuple[str, str]) -> None:
    """All there is to know about one."""
    ask.show(ask.get(server_path(*name)), tables.server)


@server.command()
@click.argument("name", metavar="SERVER", type=SERVER_NAME)
@click.argument("weight", type=click.IntRange(0, 65535))
@_REASON
@place_options
def weight(ask: Ask, name: tuple[str, str], weight: int, reason: str) -> None:
    """Set its weight; 0 = no requests."""
    _change(ask, (name,), weight=weight, reason=reason)


@server.command()
@click.argument("name", metavar="SERVER", type=SERVER_NAME)
@click.argument("connections", type=click.IntRange(0, 2**31 - 1))
@_REASON
@place_options
def limit(ask: Ask, name: tuple[str, str], connections: int, reason: str) -> None:
    """Set how many requests it gets at once; 0 = unlimited."""
    _change(ask, (name,), max_connections=connections, reason=reason)


@server.command()
@click.argument("backend_name", metavar="BACKEND", type=BACKEND_NAME)
@click.argument("address")
@click.option("--name", default="", help="[the address]")
@click.option("--weight", type=click.IntRange(0, 65535), default=1, show_default=True)
@click.option("--backup", is_flag=True, help="Only when the others are gone.")
@click.option("--tier", type=click.IntRange(0, 7), default=0, help="Load spills from each to the next.")
@click.option("--max-connections", type=click.IntRange(0, 2**31 - 1), default=0, help="0 = unlimited.")
@click.option("--state", type=click.Choice(STATES), default="ready", show_default=True)
@_REASON
@place_options
def add(ask: Ask, backend_name: str, address: str, **values: Any) -> None:
    """Add a server at ADDRESS (HOST:PORT or unix:PATH); `save` keeps it over a restart."""
    path = f"/v1/backends/{quote(backend_name, safe='')}/servers"
    _answered(ask, ask.send("POST", path, {"address": address, **values}))


@server.command()
@click.argument("name", metavar="SERVER", type=SERVER_NAME)
@_REASON
@place_options
def remove(ask: Ask, name: tuple[str, str], reason: str) -> None:
    """Leave a server out; what is in flight on it ends as it began."""
    query = f"?{urlencode({'reason': reason})}" if reason else ""
    _answered(ask, ask.send("DELETE", server_path(*name) + query))


@server.command()
@click.argument("name", metavar="SERVER", type=SERVER_NAME)
@_REASON
@place_options
def shutdown(ask: Ask, name: tuple[str, str], reason: str) -> None:
    """End what is under way at a server now; to keep more away, set it to maint before."""
    query = f"?{urlencode({'reason': reason})}" if reason else ""
    _answered(ask, ask.send("POST", f"{server_path(*name)}/shutdown_sessions{query}"))


@server.command()
@click.argument("name", metavar="SERVER", type=SERVER_NAME)
@place_options
def forget(ask: Ask, name: tuple[str, str]) -> None:
    """Undo all run-time changes of a server."""
    _answered(ask, ask.send("POST", f"{server_path(*name)}/forget"))


# ---- the configuration


@click.command()
@click.option(
    "--confirm",
    type=SECONDS,
    metavar="TIME",
    help="Go back by itself after TIME unless `fastlb ctl confirm` comes before.",
)
@place_options
def reload(ask: Ask, confirm: float | None) -> None:
    """Have the running fastlb read its configuration again.

    A wrong one changes nothing: every error is told, and the exit status is 2.

    \b
    fastlb reload -c /etc/fastlb.toml
    fastlb reload --confirm 60s && curl -fsS https://example.com/ && fastlb ctl confirm
    """
    if ask.file:
        _check_file(ask, ask.file)
    _answered(ask, ask.send("POST", "/v1/reload", {"confirm": confirm or 0.0}))


def _check_file(ask: Ask, file: str) -> None:
    """Ends the program where a reload would read another file than the one that was named."""
    told = ask.get("/v1/info")
    with contextlib.suppress(OSError):  # what it runs is not to be seen from here
        if told["config"] and not Path(f"/proc/{told['pid']}/cwd", told["config"]).samefile(file):
            text = f"it runs {safe(told['config'])}, which is what a reload would read, not {file}"
            click.echo(f"{click.style('error', fg='red')}: {ask.client.place}: {text}", err=True)
            sys.exit(STATUS_WRONG)


@click.command()
@click.option(
    "-c", "--config", "file", type=click.Path(dir_okay=False, allow_dash=True), metavar="FILE", help="- = stdin."
)
@place_options(file_option=False, hint="file")
def diff(ask: Ask, file: str | None) -> None:
    """Say what a reload would change, and how many connections it touches; nothing is changed.

    Compares the running fastlb with FILE, or without -c with the file it was started with, as that is now.
    """
    body = None
    if file is not None:
        try:
            body = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        except OSError as error:
            click.echo(f"{click.style('error', fg='red')}: {file}: {error.strerror}", err=True)
            sys.exit(STATUS_WRONG)
    name = "" if file in (None, "-") else str(file)
    _answered(
        ask, ask.send("POST", f"/v1/diff?{urlencode({'source': name or '<stdin>'})}" if body else "/v1/diff", body)
    )


@click.command()
@place_options
def upgrade(ask: Ask) -> None:
    """Have the running fastlb replaced by the program as it is installed now.

    It is started with the same arguments and takes over all sockets and run-time changes; no connection is refused. The
    old one leaves when what is in flight on it has ended. When the new one does not start, nothing changes and the exit
    status is 1.
    """
    ask.client.timeout = UPGRADE_TIMEOUT
    _answered(ask, ask.send("POST", "/v1/upgrade"))


@ctl.command()
@place_options
def confirm(ask: Ask) -> None:
    """Keep the configuration of a reload that waits for it."""
    _answered(ask, ask.send("POST", "/v1/confirm"))


@ctl.command()
@place_options
def revert(ask: Ask) -> None:
    """Undo a reload that waits to be confirmed, at once."""
    _answered(ask, ask.send("POST", "/v1/revert"))


@ctl.command()
@place_options
def save(ask: Ask) -> None:
    """Write the run-time changes to the overlay file, which the next start reads."""
    _answered(ask, ask.send("POST", "/v1/overlay"))


ctl.add_command(reload)
ctl.add_command(diff)
ctl.add_command(upgrade)


def _answered(ask: Ask, told: Any) -> None:
    """Shows what became of an action; status 1 when some workers did not go along."""
    ask.show(told, tables.answer)
    for warning in told["warnings"]:
        click.echo(safe(warning), err=True)
    for worker in told["workers"]:
        click.echo(f"{click.style('error', fg='red')}: {safe(worker)}", err=True)
    if told["verdict"] != "done":
        sys.exit(STATUS_FAILED)


# ---- what goes on


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl-C ends what is followed without a word."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _ended() -> None:
    click.echo("fastlb has stopped, or the connection to it broke", err=True)
    sys.exit(STATUS_FAILED)
