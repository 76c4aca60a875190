"""Results of a comparison in files: what a cut run goes on from, and the reports of a whole one."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastlb.bench import report, report_page
from fastlb.bench.plan import Plan
from fastlb.bench.workloads import Sample

DIGITS = 2  # of latencies; the generator's buckets are 1.6 % wide


@dataclass(slots=True)
class Results:
    """All that was measured, and where."""

    plan: Plan
    samples: list[Sample] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # what is not equal, or was not possible
    done: set[tuple[int, str]] = field(default_factory=set)
    about: dict[str, str] = field(default_factory=dict)
    proxies: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    configurations: dict[str, dict[str, str]] = field(default_factory=dict)

    def begin(self, about: dict[str, str], proxies: list[str], subjects: list[str]) -> None:
        """A run, or one more slice of it. Raises ValueError when the machine or a program is not that of before."""
        changed = [k for k, v in about.items() if k != "load" and self.about.get(k, v) != v]
        if changed:
            raise ValueError(f"what is to be resumed was measured with another {', '.join(changed)}")
        self.about = self.about or about
        self.proxies, self.subjects = proxies, subjects

    def configured(self, texts: dict[str, dict[str, str]], notes: Sequence[str]) -> None:
        for name, scenes in texts.items():
            self.configurations.setdefault(name, {}).update(scenes)
        self.missing[:] = dict.fromkeys([*notes, *self.missing])

    def packed(self) -> dict[str, Any]:
        """For JSON: nothing is left out; latencies as HdrHistogram encodes them."""
        return {
            "machine": self.about,
            "seconds": self.plan.seconds,
            "rounds": self.plan.rounds,
            "access_log": self.plan.log,
            "missing": self.missing,
            "configurations": self.configurations,
            "plan": self.plan.packed(),
            "done": sorted(self.done),
            "subjects": self.subjects,
            "samples": [{**dataclasses.asdict(s), "latencies": encoded(s.latencies)} for s in self.samples],
        }


def encoded(latencies: dict[int, int]) -> str:
    """HdrHistogram V2, compressed, base64; '' when there are none."""
    from hdrh.histogram import HdrHistogram  # optional: fastlb[bench]

    if not latencies:
        return ""
    histogram = HdrHistogram(1, 3_600_000_000, DIGITS)
    for us, count in latencies.items():
        histogram.record_value(max(1, us), count)
    return str(histogram.encode().decode())


def decoded(text: str) -> dict[int, int]:
    """Microseconds: how often."""
    from hdrh.histogram import HdrHistogram

    if not text:
        return {}
    found = HdrHistogram.decode(text).get_recorded_iterator()
    return {int(item.value_iterated_to): int(item.count_at_value_iterated_to) for item in found}


def load(path: Path) -> Results:
    """What `save` wrote, or the JSON of a report."""
    data = json.loads(path.read_text())
    samples = [Sample(**{**s, "latencies": decoded(s["latencies"])}) for s in data["samples"]]
    return Results(
        Plan.unpacked(data["plan"]),
        samples,
        data["missing"],
        {(number, scene) for number, scene in data["done"]},
        data["machine"],
        [name for name in data["configurations"] if name != "origin"],
        data["subjects"],
        data["configurations"],
    )


def save(results: Results, path: Path) -> None:
    """Replaces the file as a whole: a run that is cut while it writes leaves the one before."""
    data = results.packed()
    samples = ",\n".join(json.dumps(s) for s in data.pop("samples"))
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    # a line a sample: one that was measured again is one line in a diff
    new.write_text(json.dumps(data, indent=1)[:-2] + f',\n "samples": [\n{samples}\n]}}\n')
    new.replace(path)


def write(results: Results, folder: Path, release: bool = False) -> tuple[Path, str]:
    """STAMP.html, .md and .json; a release's take the place of those before. Returns the page and the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    if release:
        for old in folder.glob("[0-9]" * 8 + "-" + "[0-9]" * 6 + ".*"):
            old.unlink()
    html = folder / f"{time.strftime('%Y%m%d-%H%M%S')}.html"
    save(results, html.with_suffix(".json"))
    text = report.markdown(results.samples, results.proxies, results.subjects, results.about, results.missing)
    html.with_suffix(".md").write_text(text)
    html.write_text(report_page.html(results.samples, results.proxies, results.subjects, results.packed()))
    return html, text
