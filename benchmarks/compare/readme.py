"""Writes the README's table of figures from the newest comparison in benchmarks/results: `make bench-readme`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fastlb.bench.report_page import readme_table
from fastlb.bench.workloads import Sample

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- measured:begin -->\n", "<!-- measured:end -->"


def table(path: Path) -> str:
    """Of one saved comparison."""
    raw = json.loads(path.read_text())
    samples = []
    for data in raw["samples"]:
        data["latencies"] = {int(us): count for us, count in data["latencies"].items()}
        samples.append(Sample(**data))
    proxies = [name for name in raw["configurations"] if name != "origin"]
    return readme_table(samples, proxies, raw)


def main() -> int:
    saved = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    if not saved:
        print("nothing is saved in benchmarks/results: run benchmarks.compare --release", file=sys.stderr)
        return 1
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    if not rest:
        print(f"README.md has no {BEGIN.strip()}", file=sys.stderr)
        return 1
    text = table(saved[-1]) + "\n`make bench-compare` repeats it; every figure, configuration and curve is in\n"
    text += f"[benchmarks/results](benchmarks/results/{saved[-1].stem}.md).\n"
    readme.write_text(before + BEGIN + text + END + rest.partition(END)[2])
    print(f"README.md: the table of {saved[-1].name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
