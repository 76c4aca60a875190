"""Lines for people: problems, and what a configuration comes to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import click

from fastlb.errors import Problem
from fastlb.spec import Spec


def print_problems(problems: Iterable[Problem]) -> None:
    """One line each on standard error."""
    for problem in problems:
        click.echo(str(problem), err=True)


def counted(number: int, thing: str) -> str:
    """'1 server', '3 servers'."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def summary(spec: Spec, warnings: int = 0) -> str:
    """'1 frontend (2 addresses, 1 route), 2 backends (6 servers), 2 workers'."""
    listeners = sum(len(frontend.listen) for frontend in spec.frontends)
    routes = sum(len(frontend.routes) for frontend in spec.frontends)
    servers = sum(len(backend.servers) for backend in spec.backends)
    places = [plural(listeners, "address", "addresses"), *([counted(routes, "route")] if routes else [])]
    parts = [
        f"{counted(len(spec.frontends), 'frontend')} ({', '.join(places)})",
        f"{counted(len(spec.backends), 'backend')} ({counted(servers, 'server')})",
        counted(spec.global_.workers, "worker") if spec.global_.workers else "one process",
    ]
    if warnings:
        parts.append(counted(warnings, "warning"))
    return ", ".join(parts)


def safe(text: str) -> str:
    """Text of strangers without what a terminal obeys: other than printable characters become \\xNN and the like."""
    return "".join(ch if ch.isprintable() else ch.encode("unicode_escape").decode() for ch in text)


def table(
    head: Sequence[str] | None, rows: Sequence[Sequence[str]], *, right: Collection[str] = (), most: int = 0
) -> list[str]:
    """Columns as wide as needed, those named in `right` aligned there. Cells may be styled.

    Rows beyond `most` (0 = no limit) are counted, not shown. Without rows there is no table.
    """
    if not rows:
        return []
    shown = rows[:most] if most else rows
    lines = [*([head] if head else []), *shown]
    sizes = [[len(click.unstyle(cell)) for cell in line] for line in lines]
    widths = [max(column) for column in zip(*sizes, strict=True)]
    to_right = [bool(head) and name in right for name in head or rows[0]]
    text = []
    for line, size in zip(lines, sizes, strict=True):
        cells = [
            " " * (width - n) + cell if after else cell + " " * (width - n)
            for cell, n, width, after in zip(line, size, widths, to_right, strict=True)
        ]
        text.append("  ".join(cells).rstrip())
    if len(rows) > len(shown):
        text.append(f"and {len(rows) - len(shown)} more")
    return text


def plural(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def listing(items: list[str], most: int) -> str:
    """'a, b, c and 5 more'."""
    text = ", ".join(items[:most])
    return f"{text} and {len(items) - most} more" if len(items) > most else text
