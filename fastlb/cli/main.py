"""The `fastlb` command and its subcommands. What a subcommand needs is imported when it runs."""

from __future__ import annotations

import json
import sys

import click

from fastlb import __version__

from .bench import bench
from .ctl import ctl, diff, reload, upgrade
from .names import SECONDS
from .parameters import ALGORITHM, FIELD, LISTEN, SERVER, WORKERS
from .place import Ask, place_options

_FILE = click.Path(dir_okay=False, allow_dash=True)
_COMPLETION = """\
\b
Shell completion: put into ~/.bashrc
  eval "$(_FASTLB_COMPLETE=bash_source fastlb)"
(zsh_source and fish_source for the other shells).
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=_COMPLETION)
@click.version_option(__version__, message="%(prog)s %(version)s", prog_name="fastlb")
def main() -> None:
    """A load balancer with a Cython engine, configured in TOML."""


@main.command()
@click.option("-c", "--config", "file", type=_FILE, metavar="FILE", help="Configuration file; - reads standard input.")
@click.option(
    "--listen",
    multiple=True,
    type=LISTEN,
    metavar="ADDRESS",
    help="Without a file: where to listen [:8080]; may be repeated.",
)
@click.option(
    "--to",
    "servers",
    multiple=True,
    type=SERVER,
    metavar="HOST:PORT",
    help="Without a file: a server; repeat it for more.",
)
@click.option("--balance", type=ALGORITHM, metavar="NAME", help="Without a file: the algorithm [two_choices].")
@click.option("--workers", type=WORKERS, metavar="N", help="Processes: a number, 0 = this one only, or auto.")
@click.option("--demo", is_flag=True, help="Start three small servers as well, and balance over them.")
def serve(
    file: str | None,
    listen: tuple[str, ...],
    servers: tuple[str, ...],
    balance: str | None,
    workers: int | str | None,
    demo: bool,
) -> None:
    """Balance load until stopped.

    \b
    fastlb serve -c fastlb.toml
    fastlb serve --listen :8080 --to 10.0.0.1:8000 --to 10.0.0.2:8000
    fastlb serve --demo

    Signals: TERM and INT finish what is in flight and stop, QUIT stops at once.
    """
    from . import serving

    ways = [name for name, used in (("-c", file is not None), ("--to", bool(servers)), ("--demo", demo)) if used]
    if not ways:
        raise click.UsageError("say what to serve: -c FILE, --to HOST:PORT or --demo.")
    if len(ways) > 1:
        raise click.UsageError(f"{' and '.join(ways)} exclude each other.")
    if file is not None:
        for name, used in (("--listen", bool(listen)), ("--balance", balance is not None)):
            if used:
                raise click.UsageError(f"{name} is for use without a file; set it in {file}.")
        sys.exit(serving.serve_file(file, workers=workers))
    if demo:
        sys.exit(serving.serve_demo(listen, balance=balance, workers=workers))
    sys.exit(serving.serve_servers(listen, servers, balance=balance, workers=workers))


@main.command()
@click.option(
    "-c", "--config", "file", type=_FILE, required=True, metavar="FILE", help="The file; - reads standard input."
)
def check(file: str) -> None:
    """Check a configuration and start nothing.

    Prints a line for each problem on standard error and exits with status 2, or one line with what there is.
    """
    from .output import print_problems, summary
    from .reading import read

    report = read(file)
    print_problems(report.errors)
    print_problems(report.warnings)
    if report.spec is None:
        sys.exit(2)
    name = report.spec.source or file
    click.echo(f"{name}: {click.style('OK', fg='green')}: {summary(report.spec, len(report.warnings))}")


@main.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from fastlb.config import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@main.command()
@click.argument("method")
@click.argument("url", required=False, default="")
@click.option("-H", "--header", "fields", multiple=True, type=FIELD, metavar="'NAME: VALUE'", help="May be repeated.")
@click.option("--from", "client", default="127.0.0.1", metavar="IP", help="Address of the client, or unix [127.0.0.1].")
@click.option("--frontend", default="", metavar="NAME", help="Ask this one [that listens where the URL points].")
@click.option("-c", "--config", "file", type=_FILE, metavar="FILE", help="Ask a file, not a running fastlb.")
@place_options(file_option=False)
def explain(
    ask: Ask, method: str, url: str, fields: tuple[tuple[str, str], ...], client: str, frontend: str, file: str | None
) -> None:
    """Say what becomes of a request and why; nothing is sent.

    \b
    fastlb explain GET http://www.example.com/api/users -H 'X-Beta: 1' --from 10.1.2.3
    fastlb explain GET /api/users -c fastlb.toml
    fastlb explain udp://10.0.0.1:53 --from 10.1.2.3
    fastlb explain 'tcp://mail.example.com:993?alpn=imap' --from 10.1.2.3

    Of a session of mode tcp the host is the server name in its ClientHello.

    Shows the frontend and route that match, why earlier routes do not, the rules that run, and the servers with state,
    load, score and who is picked. The parser, router, rules and balancers are those that carry the traffic.
    """
    from . import explain as text

    if not url:
        method, url = "UDP" if method.startswith("udp://") else "GET", method
    if file is not None:
        told = text.offline(file, method, url, fields, client, frontend)
    else:
        asked = {"method": method, "url": url, "headers": fields, "client": client, "frontend": frontend}
        told = ask.send("POST", "/v1/explain", asked)
    ask.show(told, text.explained)


@main.command()
@click.option("--interval", type=SECONDS, default="1s", metavar="TIME", help="Between two looks [1s].")
@place_options
def top(ask: Ask, interval: float) -> None:
    """Watch a running fastlb: rates, latencies and states of its servers, live; drain and restore them by keys."""
    from . import top as terminal

    sys.exit(terminal.run(ask.client, max(interval, 0.1)))


main.add_command(bench)
main.add_command(ctl)
main.add_command(reload)
main.add_command(upgrade)
main.add_command(diff)
ctl.add_command(explain)
