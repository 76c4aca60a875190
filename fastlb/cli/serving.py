"""What `fastlb serve` does: make a `Spec` from a file or from options, then run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from fastlb.config import Report, check_mapping
from fastlb.config.address import parse_listen
from fastlb.config.convert import worker_count
from fastlb.errors import FastlbError
from fastlb.runtime.info import RuntimeInfo
from fastlb.spec import Balance, Spec

from .banner import banner
from .output import print_problems
from .reading import FileSource, read, with_workers

DEFAULT_LISTEN = ":8080"


def serve_file(file: str, *, workers: int | str | None) -> int:
    """Runs a configuration file until stopped; returns the exit status."""
    return _serve(read(file), workers, FileSource(file, workers))


def serve_servers(
    listen: Sequence[str], servers: Sequence[str], *, balance: str | None, workers: int | str | None
) -> int:
    """Runs a balancer that is described by options alone; returns the exit status."""
    report = check_mapping(quick_mapping(listen or [DEFAULT_LISTEN], servers, balance))
    errors = tuple(replace(problem, key=_option(problem.key)) for problem in report.errors)
    return _serve(replace(report, errors=errors), workers)


def quick_mapping(listen: Sequence[str], servers: Sequence[str], balance: str | None) -> dict[str, Any]:
    """The configuration that `--listen` and `--to` stand for: one frontend, one backend whose servers are checked."""
    backend: dict[str, Any] = {"servers": list(servers), "health_check": {"type": "tcp"}}
    if balance is not None:
        backend["balance"] = balance
    return {"frontends": {"web": {"listen": list(listen), "backend": "servers"}}, "backends": {"servers": backend}}


def _option(key: str) -> str:
    """The option that a key of `quick_mapping` came from."""
    if key.startswith("frontends"):
        return "--listen"
    return "--balance" if "balance" in key else "--to"


def serve_demo(listen: Sequence[str], *, balance: str | None, workers: int | str | None) -> int:
    """Runs the demonstration with servers of its own; returns the exit status."""
    from fastlb.runtime.demo import serve_demo as run

    try:
        return run(
            listen=[parse_listen(text) for text in listen],
            balance=Balance(balance) if balance else None,
            workers=1 if workers is None else worker_count(workers),
            banner=show,
        )
    except FastlbError as error:
        raise click.ClickException(str(error)) from error


def show(spec: Spec, info: RuntimeInfo) -> None:
    """Prints the banner, on standard error: standard output belongs to the access log."""
    click.echo(banner(spec, info), err=True)


def _serve(report: Report, workers: int | str | None, source: FileSource | None = None) -> int:
    print_problems(report.errors)
    print_problems(report.warnings)
    spec = with_workers(report, workers).spec
    if spec is None:
        return 2
    from fastlb.admin import extras
    from fastlb.runtime.supervisor import serve

    try:
        return serve(spec, banner=show, extras=extras(), source=source)
    except FastlbError as error:
        raise click.ClickException(str(error)) from error
