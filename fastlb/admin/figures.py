"""Numbers as people read them, and small pictures of them. Everything that comes out is safe inside HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

SPARK_POINTS = 60  # of a sparkline: two seconds a point
WIDE_POINTS = 120
SPARK_WIDTH, SPARK_HEIGHT = 80, 24
BAR_WIDTH = 72


def count(value: float) -> str:
    """1,234,567; from ten million on 12.3 M."""
    if value < 10_000_000:
        return f"{value:,.0f}"
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """A second; small ones with a digit behind the point."""
    if 0 < value < 0.05:
        return "< 0.1"
    return f"{value:.1f}" if 0 < value < 9.95 else count(value)


def size(value: float) -> str:
    """Bytes: 512 B, 1.2 KB, 34 MB."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """A latency: 250 µs, 1.2 ms, 34 ms, 1.5 s; 0 is a dash: there was none."""
    if seconds <= 0:
        return "–"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        ms = seconds * 1000
        return f"{ms:.1f} ms" if ms < 9.95 else f"{ms:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 99.5 else f"{seconds:.0f} s"


def age(seconds: float) -> str:
    """A span of time in its two largest units: 12 s, 3 min, 4 h 12 min, 3 d 4 h."""
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{left} s"


def text(value: str) -> str:
    """Escaped for HTML, inside attributes as well."""
    return escape(value, quote=True)


def bar(value: float, limit: float, what: str) -> str:
    """A horizontal bar of `value` against `limit`; nothing where there is no limit. `what` is read aloud."""
    if limit <= 0:
        return ""
    share = min(1.0, value / limit)
    level = "full" if share >= 0.95 else "high" if share >= 0.75 else "fine"
    width = max(1.0, share * BAR_WIDTH) if value else 0.0
    return (
        f'<svg class="bar {level}" width="{BAR_WIDTH}" height="6" role="img" aria-label="{text(what)}">'
        f'<rect class="rail" width="{BAR_WIDTH}" height="6" rx="3"/>'
        f'<rect class="level" width="{width:.1f}" height="6" rx="3"/></svg>'
    )


def shares(parts: Sequence[tuple[str, int]], what: str) -> str:
    """A bar cut into the shares of its parts, each a class of the style sheet; nothing where all are 0."""
    whole = sum(value for _, value in parts)
    if not whole:
        return ""
    pieces, at = [], 0.0
    for name, value in parts:
        if value:
            width = max(1.5, value / whole * BAR_WIDTH)
            pieces.append(f'<rect class="{name}" x="{min(at, BAR_WIDTH - 1.5):.1f}" width="{width:.1f}" height="6"/>')
            at += width
    frame = f'<svg class="shares" width="{BAR_WIDTH}" height="6" role="img" aria-label="{text(what)}">'
    return f"{frame}{''.join(pieces)}</svg>"


def spark(values: Sequence[float], kind: str, what: str, *, gaps: bool = False, wide: bool = False) -> str:
    """A line of the last two minutes, scaled to its own maximum. With `gaps` a 0 is no value and breaks the line."""
    width, height = (480, 96) if wide else (SPARK_WIDTH, SPARK_HEIGHT)
    points = list(values) if wide else thinned(values)
    room = WIDE_POINTS if wide else SPARK_POINTS
    top = max(points, default=0.0)
    label = f'role="img" aria-label="{text(what)}"'
    frame = f'<svg class="spark {kind}{" wide" if wide else ""}" viewBox="0 0 {width} {height}" {label}'
    frame += f' width="{width}" height="{height}" preserveAspectRatio="none">'
    base = f'<path class="base" d="M0 {height - 0.5}H{width}"/>'
    if top <= 0 or len(points) < 2:
        return f"{frame}{base}</svg>"
    step = width / (room - 1)
    first = width - (len(points) - 1) * step
    runs: list[list[tuple[float, float]]] = [[]]
    for n, value in enumerate(points):
        if gaps and value <= 0:
            if runs[-1]:
                runs.append([])
            continue
        runs[-1].append((first + n * step, height - 1.5 - value / top * (height - 3)))
    line, area = [], []
    for run in runs:
        if not run:
            continue
        if len(run) == 1:  # a lone value is a short dash
            run = [run[0], (run[0][0] + min(step, 2.0), run[0][1])]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in run)
        line.append(f"M{path}")
        area.append(f"M{run[0][0]:.1f} {height}L{path}L{run[-1][0]:.1f} {height}Z")
    return f'{frame}{base}<path class="area" d="{"".join(area)}"/><path class="line" d="{"".join(line)}"/></svg>'


def thinned(values: Sequence[float], points: int = SPARK_POINTS) -> list[float]:
    """At most so many values, each the largest of its neighbours, so that no peak is lost."""
    if len(values) <= points:
        return list(values)
    each = -(-len(values) // points)
    # Grouped from the newest on: the last point is always a full one.
    head = len(values) % each
    groups = ([values[:head]] if head else []) + [values[i : i + each] for i in range(head, len(values), each)]
    return [max(group) for group in groups]
