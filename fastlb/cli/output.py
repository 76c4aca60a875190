"""Lines for people: problems, and what a configuration comes to."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence

import click

from fastlb.errors import Problem
from fastlb.spec import Spec


def print_problems(problems: Iterable[Problem]) -> None:
    """One line each on standard error."""
    for problem in problems:
        click.echo(str(problem), err=True)


def print_lines(lines: Iterable[str]) -> None:
    """On standard output, and out at once: somebody watches."""
    for line in lines:
        click.echo(line)
    sys.stdout.flush()


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


STATES = {"UP": "green", "DOWN": "red", "EJECTED": "red", "DRAIN": "yellow", "MAINT": "yellow"}


def state(word: str) -> str:
    """A server's state in its colour."""
    return click.style(word, fg=STATES.get(word))


def amount(number: float) -> str:
    """'950', '12.3k', '4.56M': three digits that matter."""
    for unit in ("", "k", "M", "G", "T"):
        if abs(number) < 999.5 or unit == "T":
            break
        number /= 1000
    return f"{number:.0f}{unit}" if not unit and float(number).is_integer() else f"{number:.3g}{unit}"


def octets(number: float) -> str:
    """'512B', '1.5KB', '20.1MB', in steps of 1024."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1024
    return f"{number:.0f}B" if unit == "B" else f"{number:.3g}{unit}"


def moments(seconds: float) -> str:
    """A short time: '0', '120us', '3.2ms', '1.5s', '2m30s'."""
    if seconds <= 0:
        return "0"
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f}us"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g}ms"
    return f"{seconds:.3g}s" if seconds < 60 else age(seconds)


def age(seconds: float) -> str:
    """A long time in its two largest units: '5s', '3m20s', '4h', '12d6h'."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number or parts:
            parts.append(f"{number}{unit}" if number else "")
        if len(parts) == 2:
            break
    return "".join(parts) or "0s"


def plural(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def listing(items: list[str], most: int) -> str:
    """'a, b, c and 5 more'."""
    text = ", ".join(items[:most])
    return f"{text} and {len(items) - most} more" if len(items) > most else text
