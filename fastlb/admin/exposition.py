"""The text formats of Prometheus, written by hand: families of samples, with filters, in pieces.

Format 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/; OpenMetrics 1.0:
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md. Ten thousand servers are more than a
million lines, so a family is one loop over rows whose labels are written once an answer.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
LINES = 2000  # of a piece

R = TypeVar("R")
Number = int | float


class FilterError(ValueError):
    """A query that names no scope or metric there is."""


def escaped(value: str) -> str:
    """The value of a label, as it stands between its quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: Number) -> str:
    """A sample's value: integers whole, others with the digits that matter."""
    return str(value) if isinstance(value, int) else f"{value:.9g}"


@dataclass(frozen=True, slots=True)
class Family(Generic[R]):
    """One metric of a kind of rows.

    `value` gives the sample of a row, None where it has none. With `label` and `values` there are several a row, told
    apart by that label: `values(row)` gives (label's value, number).
    """

    name: str  # a counter's ends in _total
    type: str  # counter | gauge | histogram
    help: str
    value: Callable[[R], Number | None] | None = None
    label: str = ""
    values: Callable[[R], Iterable[tuple[str, Number]]] | None = None
    extra: bool = False  # only with ?extra-counters

    def header(self, openmetrics: bool) -> str:
        name = self.name.removesuffix("_total") if openmetrics and self.type == "counter" else self.name
        return f"# HELP {name} {self.help}\n# TYPE {name} {self.type}\n"

    def lines(self, rows: Sequence[tuple[str, R]]) -> Iterator[str]:
        """Samples of rows, each with its labels as 'proxy="web",server="a"', in pieces of many lines."""
        name, value, values, label = self.name, self.value, self.values, self.label
        for start in range(0, len(rows), LINES):
            piece = rows[start : start + LINES]
            if value is not None:
                yield "".join([
                    f"{name}{{{labels}}} {number(v)}\n" if labels else f"{name} {number(v)}\n"
                    for labels, row in piece
                    if (v := value(row)) is not None
                ])  # fmt: skip
            if values is not None:
                yield "".join([
                    f'{name}{{{labels}{"," if labels else ""}{label}="{what}"}} {number(v)}\n'
                    for labels, row in piece
                    for what, v in values(row)
                ])  # fmt: skip


class Histogram(Generic[R]):
    """A histogram with fixed bounds. `counts(row)` gives the cumulative counts and the number of all, `total` the sum.

    The form of a row is written once: a row costs one join and one formatting.
    """

    type = "histogram"
    extra = False

    def __init__(
        self,
        name: str,
        help: str,
        bounds: Sequence[str],
        counts: Callable[[R], Sequence[int]],
        total: Callable[[R], float],
    ) -> None:
        self.name = name
        self.help = help
        self._counts = counts
        self._total = total
        self._form = ["", *(f'"{bound}"}} %d\n' for bound in (*bounds, "+Inf"))]
        self._zero = [part.replace("%d", "0") for part in self._form]

    def header(self, openmetrics: bool) -> str:
        return f"# HELP {self.name} {self.help}\n# TYPE {self.name} histogram\n"

    def lines(self, rows: Sequence[tuple[str, R]]) -> Iterator[str]:
        name = self.name
        for start in range(0, len(rows), LINES // 20):
            piece = []
            for labels, row in rows[start : start + LINES // 20]:
                counts = self._counts(row)
                n = counts[-1]
                prefix = f"{name}_bucket{{{labels},le="
                if n:
                    piece.append(prefix.replace("%", "%%").join(self._form) % tuple(counts))
                    piece.append(f"{name}_sum{{{labels}}} {number(self._total(row))}\n{name}_count{{{labels}}} {n}\n")
                else:
                    piece.append(prefix.join(self._zero))
                    piece.append(f"{name}_sum{{{labels}}} 0\n{name}_count{{{labels}}} 0\n")
            yield "".join(piece)


AnyFamily = Family[R] | Histogram[R]


@dataclass(frozen=True, slots=True)
class Filter:
    """What of the metrics an answer has. Names may hold * and ?."""

    scopes: frozenset[str] = frozenset()  # empty = all
    wanted: tuple[str, ...] = ()  # empty = all
    unwanted: tuple[str, ...] = ()
    no_maint: bool = False
    extra: bool = False

    def scope(self, name: str) -> bool:
        return not self.scopes or name in self.scopes

    def takes(self, family: AnyFamily[R]) -> bool:
        name = family.name
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.unwanted):
            return False
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.wanted):
            return True
        return not self.wanted and (self.extra or not family.extra)


def parse_filter(query: Sequence[tuple[str, str]], scopes: Sequence[str]) -> Filter:
    """The filter of a query as HAProxy's exporter takes it: scope=, metrics=a,-b, no-maint, extra-counters.

    scope may be repeated and '*' means all; other keys are left alone. Raises FilterError for an unknown scope.
    """
    chosen: set[str] = set()
    wanted: list[str] = []
    unwanted: list[str] = []
    keys = {key for key, _ in query}
    for key, value in query:
        if key == "scope":
            for scope in filter(None, value.split(",")):
                if scope == "*":
                    chosen.update(scopes)
                elif scope in scopes:
                    chosen.add(scope)
                else:
                    raise FilterError(f"scope {scope!r}: there are {', '.join(scopes)}")
        elif key == "metrics":
            for name in filter(None, (part.strip() for part in value.split(","))):
                if name.startswith("-"):
                    unwanted.append(name[1:])
                else:
                    wanted.append(name.removeprefix("+"))
    return Filter(frozenset(chosen), tuple(wanted), tuple(unwanted), "no-maint" in keys, "extra-counters" in keys)


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept field prefers OpenMetrics to the plain text (RFC 9110 section 12.5.1)."""
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        kind, *parameters = [p.strip() for p in part.split(";")]
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        kind = kind.lower()
        if kind in best:
            best[kind] = max(best[kind], weight)
    return best["application/openmetrics-text"] > best["text/plain"]
