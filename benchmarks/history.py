"""Saved runs of the ratios, and a page with a plot a benchmark over commits: `make bench-history`.

`python -m benchmarks.history save RUN.json` takes what `pytest --benchmark-json` wrote and adds one small file to
benchmarks/results/history; `page` draws all of them. Ratios are drawn, which a machine's noise moves little; runs of
different machines are curves of their own.
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.judge import reference
from fastlb.bench import page, svg

HISTORY = Path(__file__).with_name("results") / "history"
PAGE = Path(__file__).resolve().parents[1] / "build" / "bench-history.html"


def save(run: Path, folder: Path = HISTORY) -> Path:
    """One file a commit and machine, named by time: what a benchmark took and its ratio."""
    data = json.loads(run.read_text())
    commit = data["commit_info"]
    found = {
        b["params"]["name"]: {"ratio": b["extra_info"]["ratio"], "ns": b["extra_info"]["ns"]}
        for b in data["benchmarks"]
        if "ratio" in b["extra_info"] and b["params"] and "name" in b["params"]
    }
    if not found:
        raise SystemExit(f"{run} holds no ratios: run pytest benchmarks/test_ratios.py")
    entry = {
        "when": data["datetime"][:19],
        "commit": commit["id"][:10] + ("+" if commit["dirty"] else ""),
        "machine": reference(),
        "cases": found,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{entry['when'].replace(':', '')}-{entry['commit']}.json"
    path.write_text(json.dumps(entry, indent=0) + "\n")
    return path


def load(folder: Path = HISTORY) -> list[dict[str, Any]]:
    """All saved runs, oldest first."""
    return sorted((json.loads(p.read_text()) for p in folder.glob("*.json")), key=lambda e: str(e["when"]))


def html(runs: list[dict[str, Any]]) -> str:
    """A plot a benchmark; below, which run is which commit."""
    machines = list(dict.fromkeys(run["machine"] for run in runs))
    names = list(dict.fromkeys(name for run in runs for name in run["cases"]))
    parts = [
        "<p>Each benchmark in multiples of its baseline of the same run, over the saved runs; lower is faster.</p>"
    ]
    parts.append(page.legend([(machine, i) for i, machine in enumerate(machines)]))
    for area in dict.fromkeys(name.split("/")[0] for name in names):
        parts.append(f"<h2>{escape(area)}</h2><div class='charts'>")
        for name in (n for n in names if n.split("/")[0] == area):
            lines = []
            for i, machine in enumerate(machines):
                points = [
                    (k + 1.0, run["cases"][name]["ratio"])
                    for k, run in enumerate(runs)
                    if run["machine"] == machine and name in run["cases"]
                ]
                # one run alone would draw nothing
                lines.append(svg.Line(machine, points * 2 if len(points) == 1 else points, i))
            axes = svg.Axes(name, x_label="run", y_label="of the baseline", x_max=float(max(5, len(runs))), height=170)
            parts.append(f"<div>{svg.line_chart(axes, lines)}</div>")
        parts.append("</div>")
    rows = [[str(k), escape(r["when"]), escape(r["commit"]), escape(r["machine"])] for k, r in enumerate(runs, 1)]
    parts += ["<h2>Runs</h2>", page.table(["run", "when", "commit", "machine"], rows, [0])]
    return page.document("Benchmarks over commits", parts)


def main(arguments: list[str]) -> int:
    match arguments:
        case ["save", run]:
            print(f"saved: {save(Path(run))}")
        case ["page"]:
            PAGE.parent.mkdir(parents=True, exist_ok=True)
            PAGE.write_text(html(load()))
            print(f"page: {PAGE}")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
