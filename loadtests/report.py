"""The report: one page with the time lines of all peers on the same axes, verdicts, the trend over runs; and JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fastlb.bench import page, svg
from loadtests.limits import Limits
from loadtests.model import Scenario, Verdict
from loadtests.timeline import Outcome, Second, Usage, percentile

COLOURS = {"fastlb": 0, "haproxy": 1, "nginx": 2}


@dataclasses.dataclass(slots=True)
class Report:
    """A whole run: what was measured, where, and how it is judged."""

    began: str
    about: dict[str, str]
    scenarios: dict[str, Scenario]
    outcomes: list[Outcome]
    verdicts: dict[tuple[str, str], list[Verdict]]
    limits: Limits | None = None
    plan: dict[str, Any] = dataclasses.field(default_factory=dict)  # the options that decide what is run


def pack(report: Report) -> dict[str, Any]:
    """For JSON: everything, the time lines second by second."""
    runs = []
    for outcome in report.outcomes:
        data = dataclasses.asdict(dataclasses.replace(outcome, line=[]))
        data["line"] = [s.packed() for s in outcome.line]
        data["summary"] = summary(outcome)
        data["verdicts"] = [
            {
                "text": v.criterion.text,
                "unit": v.criterion.unit,
                "value": _json(v.value),
                "limit": v.limit,
                "held": v.held,
            }
            for v in report.verdicts[outcome.scenario, outcome.peer]
        ]
        runs.append(data)
    limits = dataclasses.asdict(report.limits) if report.limits else None
    return {"began": report.began, "about": report.about, "plan": report.plan, "limits": limits, "runs": runs}


def unpack(data: dict[str, Any]) -> list[Outcome]:
    """The outcomes of a JSON written before."""
    known = {f.name for f in dataclasses.fields(Outcome)}
    outcomes = []
    for run in data["runs"]:
        fields = {k: v for k, v in run.items() if k in known}
        fields["line"] = [Second.unpacked(s) for s in run["line"]]
        fields["usage"] = [Usage(**u) for u in run["usage"]]
        fields["faults"] = [(at, label) for at, label in run["faults"]]
        outcomes.append(Outcome(**fields))
    return outcomes


def keep(report: Report, path: Path) -> None:
    """Writes what a cut run goes on from; as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(pack(report)))
    new.replace(path)


def resumed(path: Path, report: Report, slack: float) -> Report:
    """`report`, as yet empty, with what `keep` wrote, judged again. Raises ValueError when that ran otherwise."""
    data = json.loads(path.read_text())
    changed = [k for k, v in report.plan.items() if data["plan"].get(k) != v]
    changed += [k for k, v in report.about.items() if k != "load" and data["about"].get(k, v) != v]
    if changed:
        raise ValueError(f"{path} was begun with another {', '.join(changed)}")
    outcomes = unpack(data)
    criteria = {name: scenario.criteria for name, scenario in report.scenarios.items()}
    verdicts = {(o.scenario, o.peer): [c.judge(o, slack) for c in criteria[o.scenario]] for o in outcomes}
    limits = Limits(**data["limits"]) if data["limits"] else None
    return dataclasses.replace(
        report, began=data["began"], about=data["about"], outcomes=outcomes, verdicts=verdicts, limits=limits
    )


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None


def summary(outcome: Outcome) -> dict[str, float | None]:
    """The run in a few numbers; what the trend keeps. Latencies in milliseconds, errors as a share."""
    requests = outcome.requests()
    cores = statistics.fmean(u.peer_cores for u in outcome.usage) if outcome.usage else math.nan
    figures = {
        "requests": float(requests),
        "rate": outcome.rate(),
        "goodput": outcome.goodput(),
        "errors": outcome.error_share(),
        "p50": outcome.percentile(0.5) * 1e3,
        "p95": outcome.percentile(0.95) * 1e3,
        "p99": outcome.percentile(0.99) * 1e3,
        "peer_cores": cores,
        "peer_mb": max((u.peer_mb for u in outcome.usage), default=math.nan),
    }
    return {name: _json(value) for name, value in figures.items()}


# ---- page -----------------------------------------------------------------------------------------------------------


def _series(outcome: Outcome, value: Callable[[Second], float]) -> list[tuple[float, float]]:
    return [(i + 0.5, value(s)) for i, s in enumerate(outcome.line)]


def _latency(share: float) -> Callable[[Second], float]:
    return lambda s: percentile(s.latency, share) * 1e3


def _servers(outcomes: Sequence[Outcome]) -> list[tuple[str, int]]:
    """All servers that answered, and the colour of each: the same for all peers."""
    names = sorted({name for o in outcomes for s in o.line for name in s.servers}, key=lambda n: (len(n), n))
    return [(name, 3 + i) for i, name in enumerate(names)]


def charts(outcomes: Sequence[Outcome]) -> str:
    """Rate, latency, errors, CPU and distribution over time; one axis for all peers."""
    seconds = max(o.seconds for o in outcomes)
    # faults happen at the same planned times for all; one peer's marks stand for them
    markers = [svg.Marker(at, label) for at, label in max((o.faults for o in outcomes), key=len)]

    def axes(title: str, unit: str, **more: Any) -> svg.Axes:
        return svg.Axes(title, x_label="seconds", y_label=unit, x_max=float(seconds), **more)

    def lines(value: Callable[[Second], float]) -> list[svg.Line]:
        return [svg.Line(o.peer, _series(o, value), COLOURS.get(o.peer, 7)) for o in outcomes]

    parts = [
        svg.line_chart(axes("Requests", "a second"), lines(lambda s: s.requests), markers),
        svg.line_chart(axes("Users", "at work"), lines(lambda s: s.users), markers),
        svg.line_chart(axes("Goodput", "successes in time, a second"), lines(lambda s: s.good), markers),
        svg.line_chart(axes("Latency p50", "ms", log=True, y_min=1.0), lines(_latency(0.5)), markers),
        svg.line_chart(axes("Latency p95", "ms", log=True, y_min=1.0), lines(_latency(0.95)), markers),
        svg.line_chart(axes("Latency p99", "ms", log=True, y_min=1.0), lines(_latency(0.99)), markers),
        svg.line_chart(
            axes(
                "Errors", "a second", y_max=max(1.0, *(sum(s.errors.values()) for o in outcomes for s in o.line)) * 1.1
            ),
            lines(lambda s: sum(s.errors.values())),
            markers,
        ),
        svg.line_chart(
            axes("CPU of the balancer", "cores"),
            [svg.Line(o.peer, [(u.at, u.peer_cores) for u in o.usage], COLOURS.get(o.peer, 7)) for o in outcomes],
            markers,
        ),
    ]
    highest = max((sum(s.servers.values()) for o in outcomes for s in o.line), default=1)
    for o in outcomes:
        layers = [svg.Layer(n, [float(s.servers[n]) for s in o.line], c) for n, c in _servers(outcomes)]
        own = [svg.Marker(at, label) for at, label in o.faults]
        chart = axes(f"{o.peer}: answers of each server", "a second", y_max=highest * 1.08)
        parts.append(svg.stack_chart(chart, [i + 0.5 for i in range(len(o.line))], layers, own))
    return '<div class="charts">' + "".join(f"<div>{p}</div>" for p in parts) + "</div>"


def _figure(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "nothing measured"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}\N{NO-BREAK SPACE}{unit}".rstrip()


def verdict_table(
    scenario: Scenario, outcomes: Sequence[Outcome], verdicts: dict[tuple[str, str], list[Verdict]]
) -> str:
    """Criteria down, peers across."""
    rows = []
    for i, criterion in enumerate(scenario.criteria):
        first = verdicts[outcomes[0].scenario, outcomes[0].peer][i]
        bound = f"{'≥' if criterion.at_least else '≤'} {_figure(first.limit, criterion.unit)}"
        cells = []
        for o in outcomes:
            v = verdicts[o.scenario, o.peer][i]
            cells.append(
                f'<span class="{"good" if v.held else "bad"}">{escape(_figure(v.value, criterion.unit))}</span>'
            )
        rows.append([escape(criterion.text), bound, *cells])
    errors = []
    for o in outcomes:
        kinds = ", ".join(f"{escape(k)} × {n}" for k, n in o.errors().most_common(4))
        errors.append(kinds or "none")
    rows.append(["errors by kind", "", *errors])
    load = [f"{statistics.median(u.busiest_load for u in o.usage):.0%}" if o.usage else "" for o in outcomes]
    rows.append(["busiest Locust process, of a core", "", *load])
    return page.table(["criterion", "limit", *(o.peer for o in outcomes)], rows)


def section(report: Report, scenario: Scenario) -> str:
    """One scenario: story, verdicts, troubles, charts, configurations."""
    outcomes = [o for o in report.outcomes if o.scenario == scenario.name]
    parts = [f'<h2 id="{scenario.name}">{escape(scenario.title)}</h2><p>{escape(scenario.story)}</p>']
    users = ", ".join(f"{n} × {w}" for n, w in scenario.users.items())
    head = f"{outcomes[0].users} users at most ({users}), {outcomes[0].seconds} s, {scenario.pool.servers} servers"
    if outcomes[0].capacity < 10_000:
        head += f", which can do {outcomes[0].capacity:.0f} requests a second together"
    parts.append(f'<p class="dim">{escape(head)}; in time means within {scenario.goal:g} s</p>')
    parts.append(verdict_table(scenario, outcomes, report.verdicts))
    for o in outcomes:
        parts += [f'<p class="bad">{o.peer}: {escape(text)}</p>' for text in o.broken]
        parts += [f'<p class="dim">{o.peer}: {escape(text)}</p>' for text in o.trouble]
    parts.append(page.legend([(o.peer, COLOURS.get(o.peer, 7)) for o in outcomes], _servers(outcomes)))
    parts.append(charts(outcomes))
    parts += [page.folded(f"configuration of {o.peer} ({o.version})", o.config) for o in outcomes]
    return "\n".join(parts)


def overview(report: Report) -> str:
    """Scenarios down, peers across: how many criteria held, rate, p99, errors."""
    peers = list(dict.fromkeys(o.peer for o in report.outcomes))
    rows = []
    for name, scenario in report.scenarios.items():
        cells = [f'<a href="#{name}">{escape(scenario.title)}</a>']
        for peer in peers:
            found = next((o for o in report.outcomes if (o.scenario, o.peer) == (name, peer)), None)
            if found is None:
                cells.append("")
                continue
            verdicts = report.verdicts[name, peer]
            held = sum(v.held for v in verdicts)
            whole = held == len(verdicts) and not found.broken
            cells.append(
                f'<span class="{"good" if whole else "bad"}">{held} of {len(verdicts)}</span> '
                f'<span class="dim whole">{found.rate():.0f}/s,</span> '
                f'<span class="dim whole">p99 {_figure(found.percentile(0.99) * 1e3, "ms")},</span> '
                f'<span class="dim whole">errors {_figure(found.error_share() * 100, "%")}</span>'
            )
        rows.append(cells)
    return "<p>How many criteria held, and what was measured.</p>" + page.table(["scenario", *peers], rows)


def trend(history: Sequence[dict[str, Any]]) -> str:
    """p99, errors and goodput of every scenario over the runs so far, oldest first."""
    names = list(dict.fromkeys(run["scenario"] for entry in history for run in entry["runs"]))
    if len(history) < 2:
        return "<h2>Trend</h2><p>Runs are compared from the second one on.</p>"
    parts = ["<h2>Trend</h2>", f"<p>{len(history)} runs, oldest first.</p>", '<div class="charts">']
    for name in names:
        for key, title, unit in (("p99", "p99", "ms"), ("goodput", "goodput", "a second")):
            lines = []
            for peer in dict.fromkeys(r["peer"] for e in history for r in e["runs"] if r["scenario"] == name):
                points = []
                for i, entry in enumerate(history):
                    found = [r for r in entry["runs"] if (r["scenario"], r["peer"]) == (name, peer)]
                    value = found[-1]["summary"][key] if found else None
                    if value is not None:
                        points.append((float(i + 1), value))
                lines.append(svg.Line(peer, points, COLOURS.get(peer, 7)))
            runs = float(max(5, len(history)))
            axes = svg.Axes(f"{name}: {title}", x_label="run", y_label=unit, x_max=runs, height=180)
            parts.append(f"<div>{svg.line_chart(axes, lines)}</div>")
    return "\n".join([*parts, "</div>"])


def html(report: Report, history: Sequence[dict[str, Any]]) -> str:
    """The whole page."""
    parts = [page.facts({"began": report.began, **report.about})]
    if report.limits is not None:
        parts.append(f"<p>{escape(report.limits.told())}</p>")
    parts.append(overview(report))
    parts += [
        section(report, s) for name, s in report.scenarios.items() if any(o.scenario == name for o in report.outcomes)
    ]
    parts.append(trend(history))
    return page.document("Load campaign", parts)


def save(report: Report, folder: Path, name: str = "") -> Path:
    """Writes NAME.html and NAME.json, by default named by time, and adds to history.jsonl; returns the page.

    The trend is drawn from that history; a release's (`name`) has one of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packed = pack(report)
    path = folder / f"{name or report.began}.html"
    path.with_suffix(".json").write_text(json.dumps(packed, separators=(",", ":")))
    brief = [{"scenario": r["scenario"], "peer": r["peer"], "summary": r["summary"]} for r in packed["runs"]]
    history = folder / (f"{name}-history.jsonl" if name else "history.jsonl")
    with history.open("a") as log:
        log.write(json.dumps({"began": report.began, "about": report.about, "runs": brief}) + "\n")
    entries = [json.loads(line) for line in history.read_text().splitlines()[-50:]]
    path.write_text(html(report, entries))
    return path
