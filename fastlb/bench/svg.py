"""Plots as inline SVG: line charts and bar charts for self-contained pages, without a script or a library.

Coordinates are in pixels of a drawing `width` x `height`, which browsers scale to the place there is. All text goes
through `escape`. Colours are CSS variables of `page.STYLE`, so that light and dark both read well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

PALETTE = 8  # colours --c0 ... --c7
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 26, 34


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: points in data units; NaN interrupts it. `colour` is an index into the palette."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Marker:
    """A vertical line at `x` with a label: something that happened."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Axes:
    """What a chart shows. `log` scales y by decades (then `y_min` > 0); limits that are None come from the data."""

    title: str
    x_label: str = ""
    y_label: str = ""
    x_max: float | None = None
    y_min: float = 0.0
    y_max: float | None = None
    log: bool = False
    width: int = 640
    height: int = 240


def number(value: float) -> str:
    """A tick's label: three significant digits, thousands as k, millions as M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `wanted` of them."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    step = 10 ** math.floor(math.log10(span / wanted))
    for factor in (1, 2, 5, 10):
        if span / (step * factor) <= wanted:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`; with 2 and 5 between where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    return [f * 10.0**e for e in range(first, last + 1) for f in factors if low <= f * 10.0**e <= high]


class _Scale:
    """From data units to pixels."""

    def __init__(self, axes: Axes, x_max: float, y_max: float) -> None:
        self._axes, self._x_max, self._y_max = axes, x_max or 1.0, y_max

    def x(self, value: float) -> float:
        return LEFT + (self._axes.width - LEFT - RIGHT) * value / self._x_max

    def y(self, value: float) -> float:
        low, high = self._axes.y_min, self._y_max
        if self._axes.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        share = (value - low) / (high - low) if high > low else 0.0
        return self._axes.height - BOTTOM - (self._axes.height - TOP - BOTTOM) * min(max(share, 0.0), 1.0)


def _limits(axes: Axes, lines: Sequence[Line]) -> tuple[float, float]:
    points = [(x, y) for line in lines for x, y in line.points if math.isfinite(y)]
    x_max = axes.x_max if axes.x_max is not None else max((x for x, _ in points), default=1.0)
    highest = max((y for _, y in points), default=1.0)
    y_max = axes.y_max if axes.y_max is not None else highest * (1.3 if axes.log else 1.08)
    return x_max, max(y_max, axes.y_min * 10 if axes.log else axes.y_min + 1e-9)


def _frame(axes: Axes, scale: _Scale, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[str]:
    right, floor = axes.width - RIGHT, axes.height - BOTTOM
    out = [f'<text class="title" x="{LEFT}" y="16">{escape(axes.title)}</text>']
    for value in y_ticks:
        y = scale.y(value)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="tick" x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{number(value)}</text>')
    for value in x_ticks:
        x = scale.x(value)
        out.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}"/>')
        out.append(f'<text class="tick" x="{x:.1f}" y="{floor + 15}" text-anchor="middle">{number(value)}</text>')
    out.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{floor}" y2="{floor}"/>')
    out.append(f'<text class="tick" x="{right}" y="{axes.height - 4}" text-anchor="end">{escape(axes.x_label)}</text>')
    out.append(f'<text class="tick" x="{right}" y="16" text-anchor="end">{escape(axes.y_label)}</text>')
    return out


def _path(line: Line, scale: _Scale) -> str:
    steps, pen_down = [], False
    for x, y in line.points:
        if not math.isfinite(y):
            pen_down = False
            continue
        steps.append(f"{'L' if pen_down else 'M'}{scale.x(x):.1f} {scale.y(y):.1f}")
        pen_down = True
    dash = ' stroke-dasharray="5 3"' if line.dashed else ""
    style = f"stroke:var(--c{line.colour % PALETTE})"
    title = f"<title>{escape(line.name)}</title>"
    if len(line.points) <= 2:  # so few that a line is hard to see, or none at all
        dots = [
            f'<circle cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="3"/>' for x, y in line.points if math.isfinite(y)
        ]
        return f'<g style="fill:var(--c{line.colour % PALETTE})">{title}{"".join(dots)}</g>'
    return f'<path class="line" style="{style}"{dash} d="{"".join(steps)}">{title}</path>'


def line_chart(axes: Axes, lines: Sequence[Line], markers: Sequence[Marker] = ()) -> str:
    """Curves over common axes, with markers. The legend is HTML of its own (`page.legend`): charts share it."""
    x_max, y_max = _limits(axes, lines)
    scale = _Scale(axes, x_max, y_max)
    y_ticks = decades(axes.y_min, y_max) if axes.log else ticks(axes.y_min, y_max)
    out = _frame(axes, scale, ticks(0.0, x_max, 8), y_ticks)
    floor, taken = axes.height - BOTTOM, [-1e9] * 4
    for marker in sorted(markers, key=lambda m: m.x):
        x = scale.x(marker.x)
        out.append(f'<line class="marker" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{floor}"/>')
        # labels that would lie on each other go to rows below; where all rows are full the line alone remains
        wide = 5.2 * len(marker.label) + 3
        anchor = "end" if x + wide > axes.width else "start"
        row = next((r for r, end in enumerate(taken) if end < (x - wide if anchor == "end" else x)), None)
        if row is not None:
            place = x - 3 if anchor == "end" else x + 3
            taken[row] = x + wide if anchor == "start" else x
            out.append(
                f'<text class="mark" x="{place:.1f}" y="{TOP + 6 + 10 * row}" text-anchor="{anchor}">'
                f"{escape(marker.label)}</text>"
            )
    out += [_path(line, scale) for line in lines if line.points]
    return _svg(axes, out)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `label` below, `value`, half the spread as a whisker, and its colour."""

    label: str
    value: float
    spread: float = 0.0
    colour: int = 0
    text: str = ""


def bar_chart(axes: Axes, bars: Sequence[Bar]) -> str:
    """Horizontal bars from zero, their values written at the end."""
    left, row = 150, 22
    height = TOP + row * len(bars) + 12
    most = max((b.value + b.spread for b in bars if math.isfinite(b.value)), default=1.0) or 1.0
    room = axes.width - left - 160
    out = [f'<text class="title" x="4" y="16">{escape(axes.title)}</text>']
    for i, bar in enumerate(bars):
        if not math.isfinite(bar.value):
            continue
        y, length = TOP + row * i + 2, room * bar.value / most
        out.append(f'<text class="tick" x="{left - 6}" y="{y + 12}" text-anchor="end">{escape(bar.label)}</text>')
        style = f"fill:var(--c{bar.colour % PALETTE})"
        out.append(f'<rect style="{style}" x="{left}" y="{y}" width="{max(length, 1):.1f}" height="{row - 7}"/>')
        end = left + length
        if bar.spread:
            whisker, middle = room * bar.spread / most, y + (row - 7) / 2
            out.append(
                f'<line class="whisker" x1="{max(left, end - whisker):.1f}" x2="{end + whisker:.1f}" '
                f'y1="{middle}" y2="{middle}"/>'
            )
            end += whisker
        out.append(f'<text class="tick" x="{end + 6:.1f}" y="{y + 12}">{escape(bar.text or number(bar.value))}</text>')
    return _svg(Axes(axes.title, width=axes.width, height=height), out)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a stacked chart: a value an x."""

    name: str
    values: Sequence[float]
    colour: int = 0


def stack_chart(axes: Axes, xs: Sequence[float], layers: Sequence[Layer], markers: Sequence[Marker] = ()) -> str:
    """Layers on top of each other, such as requests a second of each server."""
    totals = [sum(layer.values[i] for layer in layers) for i in range(len(xs))]
    y_max = axes.y_max if axes.y_max is not None else max(totals, default=1.0) * 1.08 or 1.0
    x_max = axes.x_max if axes.x_max is not None else max(xs, default=1.0)
    scale = _Scale(axes, x_max, y_max)
    out = _frame(axes, scale, ticks(0.0, x_max, 8), ticks(0.0, y_max))
    floor = [0.0] * len(xs)
    for layer in layers:
        ceiling = [low + value for low, value in zip(floor, layer.values, strict=True)]
        upper = [f"{scale.x(x):.1f} {scale.y(y):.1f}" for x, y in zip(xs, ceiling, strict=True)]
        lower = [f"{scale.x(x):.1f} {scale.y(y):.1f}" for x, y in zip(xs, floor, strict=True)]
        if upper:
            style = f"fill:var(--c{layer.colour % PALETTE})"
            path = f"M{' L'.join(upper)} L{' L'.join(reversed(lower))} Z"
            out.append(f'<path class="layer" style="{style}" d="{path}"><title>{escape(layer.name)}</title></path>')
        floor = ceiling
    for marker in markers:
        x = scale.x(marker.x)
        out.append(f'<line class="marker" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{axes.height - BOTTOM}"/>')
    return _svg(axes, out)


def _svg(axes: Axes, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {axes.width} {axes.height}" role="img" aria-label="{escape(axes.title, quote=True)}">'
        + "".join(parts)
        + "</svg>"
    )
