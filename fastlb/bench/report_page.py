"""The comparison as one self-contained page: bars of CPU a request, latency curves, memory, configurations; and the
README's table.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from html import escape
from typing import Any

from fastlb.bench import page, svg
from fastlb.bench.cells import Workload
from fastlb.bench.report import WIDE, failed, median, ratio
from fastlb.bench.workloads import WORKLOADS, Sample, percentile

COLOURS = ("fastlb", "haproxy", "nginx", "envoy", "caddy")
SHARES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999)


def _colour(name: str) -> int:
    return COLOURS.index(name) if name in COLOURS else 5


def _spread(samples: Sequence[Sample], workload: str, proxy: str, key: str) -> float:
    """Half the distance of the extremes over the rounds."""
    values = [s.values[key] for s in samples if (s.workload, s.proxy) == (workload, proxy) and key in s.values]
    return (max(values) - min(values)) / 2 if len(values) > 1 else 0.0


def bars(samples: Sequence[Sample], cell: Workload, proxies: Sequence[str], key: str, unit: str) -> str:
    """One cell: a bar a proxy."""
    found = []
    for proxy in proxies:
        value = median(samples, cell.name, proxy, key)
        if value is None or math.isnan(value):
            continue
        spread = _spread(samples, cell.name, proxy, key)
        wide = " spread too wide" if value and spread * 2 / value > WIDE else ""
        found.append(svg.Bar(proxy, value, spread, _colour(proxy), f"{svg.number(value)} {unit}{wide}"))
    return svg.bar_chart(svg.Axes(cell.title, width=520), found) if found else ""


def merged(samples: Sequence[Sample], workload: str, proxy: str) -> dict[int, int]:
    """Latencies of all rounds together."""
    total: dict[int, int] = {}
    for sample in samples:
        if (sample.workload, sample.proxy) == (workload, proxy):
            for us, count in sample.latencies.items():
                total[us] = total.get(us, 0) + count
    return total


def curves(samples: Sequence[Sample], cell: Workload, proxies: Sequence[str]) -> str:
    """Latency over percentiles; x is the number of nines, so that the tail has room."""
    lines = []
    for proxy in proxies:
        latencies = merged(samples, cell.name, proxy)
        if latencies:
            points = [(-math.log10(1 - s), percentile(latencies, s) / 1e3) for s in SHARES]
            lines.append(svg.Line(proxy, points, _colour(proxy)))
    if not lines:
        return ""
    rates = [s.values["rate"] for s in samples if s.workload == cell.name and s.values]
    title = f"{cell.title}: {statistics.median(rates):,.0f} requests a second"
    axes = svg.Axes(title, x_label="nines: 1 = p90, 2 = p99, 3 = p99.9", y_label="ms", log=True, y_min=0.01, width=520)
    return svg.line_chart(axes, lines)


def html(samples: Sequence[Sample], proxies: Sequence[str], subjects: Sequence[str], raw: dict[str, Any]) -> str:
    """The whole page."""
    cells = [w for w in WORKLOADS if any(s.workload == w.name for s in samples)]
    parts = [page.facts(raw["machine"])]
    parts.append(
        f"<p>{raw['rounds']} interleaved rounds of {raw['seconds']:g} s; proxy pinned to one core, load and servers on "
        "another. CPU time of all processes of the proxy, user and system, from the kernel's accounting; medians, the "
        f"whisker is half the spread. A spread of more than {WIDE:.0%} of the median gets no verdict.</p>"
    )
    parts.append(page.legend([(p, _colour(p)) for p in proxies]))
    if subjects:
        parts += ["<h2>Ratios to the peers</h2>", _ratios(samples, cells, proxies, subjects)]
    parts.append('<h2>CPU a request</h2><div class="charts">')
    parts += [f"<div>{bars(samples, w, proxies, 'cpu_us', 'µs')}</div>" for w in cells if w.key == "cpu_us"]
    parts.append('</div><h2>Requests a second, at saturation of one core or of the load</h2><div class="charts">')
    parts += [f"<div>{bars(samples, w, proxies, 'rps', '/s')}</div>" for w in cells if w.key == "cpu_us"]
    parts.append("</div>")
    if any(w.kind == "latency" for w in cells):
        parts.append(
            "<h2>Latency at fixed rates</h2><p>Requests come evenly, whatever became of those before; latency counts "
            'from when each was due: free of coordinated omission.</p><div class="charts">'
        )
        parts += [f"<div>{curves(samples, w, proxies)}</div>" for w in cells if w.kind == "latency"]
        parts.append("</div>")
    idle = [w for w in cells if w.kind == "idle"]
    if idle:
        parts.append('<h2>Memory</h2><div class="charts">')
        parts += [f"<div>{bars(samples, w, proxies, 'bytes_each', 'bytes a connection')}</div>" for w in idle]
        parts.append(f"<div>{bars(samples, idle[0], proxies, 'base_pss_mb', 'MB at the start (PSS)')}</div></div>")
    troubles = sorted({f"{s.proxy}, {s.workload}: {s.errors}" for s in samples if s.errors})
    parts += [f'<p class="bad">{escape(text)}</p>' for text in [*raw["missing"], *troubles]]
    parts.append("<h2>Configurations</h2>")
    for name, texts in raw["configurations"].items():
        parts += [page.folded(f"{name}: {scene}" if scene else name, text) for scene, text in texts.items()]
    return page.document("fastlb side by side", parts)


def _ratios(
    samples: Sequence[Sample], cells: Sequence[Workload], proxies: Sequence[str], subjects: Sequence[str]
) -> str:
    rows = []
    for cell in cells:
        key = cell.key
        row = [escape(cell.title), {"bytes_each": "memory", "p99_us": "p99", "cpu_us": "CPU"}[key]]
        for peer in (p for p in proxies if p != subjects[0]):
            found = ratio(samples, cell.name, subjects[0], peer, key)
            if found is None:
                lost = failed(samples, cell.name, peer)
                row.append(f'<span class="dim">{lost:.0%} failed</span>' if lost else "")
                continue
            kind = "dim" if found.wide else "good" if found.median < 1 else "bad"
            told = f"{found.median:.2f} ± {found.spread / 2:.2f}{' too wide' if found.wide else ''}"
            row.append(f'<span class="{kind}">{told}</span>')
        rows.append(row)
    head = ["cell", "of", *(f"{subjects[0]} to {p}" for p in proxies if p != subjects[0])]
    return page.table(head, rows, range(2, len(head)))


def readme_table(samples: Sequence[Sample], proxies: Sequence[str], raw: dict[str, Any]) -> str:
    """Markdown for the README: a row a cell, lost ones in bold, too wide ones said so."""
    about = raw["machine"]
    peers = [p for p in proxies if p != "fastlb"]
    lines = [
        "CPU microseconds a request of the proxy, all its processes, user and system; one worker or thread, one core,",
        f"load and servers on another; medians of {raw['rounds']} interleaved rounds of {raw['seconds']:g} s "
        f"({about['cpu']}, {about['cores']} cores, Linux {about['kernel'].split('-')[0]}).",
        f"{'; '.join(about[p] for p in proxies)}. Ratios are within a round: below 1 fastlb is cheaper.",
        "",
        "| | " + " | ".join(proxies) + " | " + " | ".join(f"to {p}" for p in peers) + " |",
        "|---|" + "---:|" * (len(proxies) + len(peers)),
    ]
    for cell in WORKLOADS:
        key = cell.key
        values = [median(samples, cell.name, p, key) for p in proxies]
        if values[0] is None:
            continue
        unit = {"bytes_each": ", bytes", "p99_us": ", p99 µs", "cpu_us": ""}[key]
        row = ["" if v is None else f"{v:,.0f}" if v >= 100 else f"{v:.1f}" for v in values]
        for peer in peers:
            found = ratio(samples, cell.name, "fastlb", peer, key)
            if found is None:
                lost = failed(samples, cell.name, peer)
                row.append(f"{lost:.0%} failed" if lost else "")
            elif found.wide:
                row.append(f"{found.median:.2f}, spread too wide")
            else:
                text = f"{found.median:.2f} ± {found.spread / 2:.2f}"
                row.append(f"**{text}**" if found.median > 1 else text)
        lines.append(f"| {cell.title}{unit} | " + " | ".join(row) + " |")
    lines += ["", *(" ".join(note.split()) + "." for note in raw["missing"])] if raw["missing"] else []
    return "\n".join(lines) + "\n"
