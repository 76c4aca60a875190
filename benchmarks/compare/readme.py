"""Writes the README's table of figures from the newest comparison in benchmarks/results: `make bench-readme`."""

from __future__ import annotations

import sys
from pathlib import Path

from fastlb.bench import saved
from fastlb.bench.report_page import readme_table

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- measured:begin -->\n", "<!-- measured:end -->"


def table(path: Path) -> str:
    """Of one saved comparison."""
    results = saved.load(path)
    return readme_table(results.samples, results.proxies, results.packed())


def main() -> int:
    found = sorted((ROOT / "benchmarks" / "results").glob("[0-9]*.json"))
    if not found:
        print("nothing is saved in benchmarks/results: run benchmarks.compare --release", file=sys.stderr)
        return 1
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    if not rest:
        print(f"README.md has no {BEGIN.strip()}", file=sys.stderr)
        return 1
    text = table(found[-1]) + "\n`make bench-compare` repeats it; every figure, configuration and curve is in\n"
    text += f"[benchmarks/results](benchmarks/results/{found[-1].stem}.md).\n"
    readme.write_text(before + BEGIN + text + END + rest.partition(END)[2])
    print(f"README.md: the table of {found[-1].name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
