"""Medians over the rounds, ratios within a round, as Markdown and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastlb.bench.cells import IDLE, IDLE_GOAL
from fastlb.bench.workloads import WORKLOADS, Sample

FEW = 0.01  # share of requests that may fail: refusing is cheap, so what fails more is not compared
WIDE = 0.25  # a cell whose rounds differ by more than this share of their median gets no verdict


def line(sample: Sample) -> str:
    """A measurement on the terminal."""
    v = sample.values
    if "bytes_each" in v:
        return f"{v['bytes_each']:8.0f} bytes each"
    if not v:
        return sample.errors
    rate = f" of {v['rate']:.0f}" if v["rate"] else ""
    return (
        f"{v['cpu_us']:9.1f} us  {v['rps']:8.0f}/s{rate}  p50 {v['p50_us'] / 1e3:.2f} ms  "
        f"p99 {v['p99_us'] / 1e3:.2f} ms  {sample.errors}"
    )


def _values(samples: Sequence[Sample], workload: str, proxy: str, key: str) -> list[float]:
    return [s.values[key] for s in samples if (s.workload, s.proxy) == (workload, proxy) and key in s.values]


def median(samples: Sequence[Sample], workload: str, proxy: str, key: str) -> float | None:
    """Median over the rounds, None when it was not measured."""
    found = _values(samples, workload, proxy, key)
    return statistics.median(found) if found else None


def failed(samples: Sequence[Sample], workload: str, proxy: str) -> float:
    """Share of requests that failed in the worst round; 0 where it is within FEW."""
    worst = max(_values(samples, workload, proxy, "failed"), default=0.0)
    return worst if worst > FEW else 0.0


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median of the rounds' ratios, largest less smallest, and of how many rounds."""

    median: float
    spread: float
    rounds: int

    @property
    def wide(self) -> bool:
        """The rounds differ by too much for a verdict."""
        return self.rounds > 1 and self.spread / self.median > 2 * WIDE


def ratio(samples: Sequence[Sample], workload: str, proxy: str, peer: str, key: str) -> Ratio | None:
    """Proxy's value over the peer's of the same round, where neither failed more than FEW; None without any such."""
    of = {
        (s.round, s.proxy): s.values[key]
        for s in samples
        if s.workload == workload and key in s.values and s.values.get("failed", 0.0) <= FEW
    }
    ratios = [
        value / of[number, peer]
        for (number, name), value in of.items()
        if name == proxy and of.get((number, peer), 0.0) > 0
    ]
    return Ratio(statistics.median(ratios), max(ratios) - min(ratios), len(ratios)) if ratios else None


def _cell(value: float | None, form: Callable[[float], str]) -> str:
    return "" if value is None or value != value else form(value)


def _ms(us: float) -> str:
    return f"{us / 1e3:.2f}" if us < 100e3 else f"{us / 1e3:.0f}"


def markdown(
    samples: Sequence[Sample],
    proxies: Sequence[str],
    subjects: Sequence[str],
    about: dict[str, str],
    notes: Sequence[str] = (),
) -> str:
    """Tables: what each proxy used, then the ratios of every subject (fastlb) to every peer."""
    lines = [
        "## Side by side",
        "",
        "; ".join(f"{k} {v}" for k, v in about.items()),
        "",
        "CPU in microseconds a request, all processes of the proxy, user and system. Rate and latencies (milliseconds) "
        "are of a closed loop on one core of load generator and servers together: where the proxy's core is not used "
        "up, they tell as much of those as of the proxy. Medians of the rounds.",
        "",
        "| workload | proxy | CPU µs | spread | requests/s | p50 ms | p99 ms | core used | RSS MB | errors |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for w in WORKLOADS:
        for proxy in proxies:
            cpu = _values(samples, w.name, proxy, "cpu_us")
            if not cpu:
                continue
            errors = {s.errors for s in samples if (s.workload, s.proxy) == (w.name, proxy) and s.errors}
            spread = (max(cpu) - min(cpu)) / statistics.median(cpu)
            cells = [
                w.title,
                proxy,
                f"{statistics.median(cpu):.1f}",
                f"{spread:.0%}",
                _cell(median(samples, w.name, proxy, "rps"), lambda v: f"{v:,.0f}"),
                _cell(median(samples, w.name, proxy, "p50_us"), _ms),
                _cell(median(samples, w.name, proxy, "p99_us"), _ms),
                _cell(median(samples, w.name, proxy, "core_share"), lambda v: f"{v:.0%}"),
                _cell(median(samples, w.name, proxy, "rss_mb"), lambda v: f"{v:.0f}"),
                "; ".join(sorted(errors)),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    lines += _idle_table(samples, proxies) + _ratio_table(samples, proxies, subjects)
    lines += ["", *(f"- {' '.join(note.split())}" for note in notes)] if notes else []
    return "\n".join(lines) + "\n"


def _idle_table(samples: Sequence[Sample], proxies: Sequence[str]) -> list[str]:
    lines = [
        "",
        "| held open after one request | proxy | how many | bytes each | base RSS MB |",
        "|---|---|---:|---:|---:|",
    ]
    for w in WORKLOADS:
        for proxy in proxies:
            count = median(samples, w.name, proxy, "connections")
            if count is None:
                continue
            each = _cell(median(samples, w.name, proxy, "bytes_each"), lambda v: f"{v:,.0f}")
            base = _cell(median(samples, w.name, proxy, "base_rss_mb"), lambda v: f"{v:.0f}")
            lines.append(f"| {w.title} | {proxy} | {count:,.0f} | {each} | {base} |")
    return lines if len(lines) > 3 else []


def _ratio_table(samples: Sequence[Sample], proxies: Sequence[str], subjects: Sequence[str]) -> list[str]:
    peers = [p for p in proxies if p not in subjects[:1]]
    subjects = [s for s in subjects if s in proxies]
    if not subjects or not peers:
        return []
    lines = [
        "",
        "Ratios of CPU a request, or of what is named, within a round: median (± half the spread, where there were "
        "several); below 1 the subject is cheaper.",
        "",
        "| subject | workload | " + " | ".join(f"to {p}" for p in peers) + " | goal (HAProxy) | |",
        "|---|---|" + "---:|" * (len(peers) + 1) + "---|",
    ]
    for subject in subjects:
        for w in WORKLOADS:
            found = {p: ratio(samples, w.name, subject, p, w.key) for p in peers if p != subject}
            if not any(found.values()):
                continue
            cells = [_ratio_cell(found[p], failed(samples, w.name, p)) if p in found else "" for p in peers]
            verdict = _verdict(w.goal, found.get("haproxy"))
            if w.name == IDLE:
                each = median(samples, w.name, subject, w.key) or 0.0
                verdict = f"≤ {IDLE_GOAL} bytes | {'met' if each <= IDLE_GOAL else 'MISSED'}"
            title = w.title + {"bytes_each": ", memory", "p99_us": ", p99"}.get(w.key, "")
            lines.append(f"| {subject} | {title} | {' | '.join(cells)} | {verdict} |")
    return lines


def _ratio_cell(found: Ratio | None, lost: float) -> str:
    if found is None:
        return f"{lost:.0%} failed" if lost else ""
    text = f"{found.median:.2f}" + (f" ± {found.spread / 2:.2f}" if found.rounds > 1 else "")
    return text + (" (spread too wide)" if found.wide else "")


def _verdict(goal: float | None, to_haproxy: Ratio | None) -> str:
    """The goal and whether it was met; a wide spread that reaches over the goal gets no verdict."""
    if goal is None:
        return " | "
    if to_haproxy is None:
        return f"≤ {goal:.2f} | "
    if abs(to_haproxy.median - goal) <= to_haproxy.spread / 2 and to_haproxy.spread > 0.1:
        return f"≤ {goal:.2f} | spread too wide"
    return f"≤ {goal:.2f} | {'met' if to_haproxy.median <= goal else 'MISSED'}"
