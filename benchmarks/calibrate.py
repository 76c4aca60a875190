"""Writes thresholds.toml from measurements on this machine: `python -m benchmarks.calibrate [NAME ...]`.

Without names all cases, and the table's machine becomes this one; with names only those, on the machine it is of.
Each case is measured in five processes, spread over the run, and the median of the ratios is written. With
`instructions` as the only argument callgrind counts anew.
"""

from __future__ import annotations

import statistics
import sys
import tomllib
from typing import Any

from benchmarks.callgrind import built_with, countable, instructions
from benchmarks.cases import CASES
from benchmarks.judge import TABLE, alone, reference

TURNS = 5

HEAD = """# What each case of cases.py usually takes, in multiples of its baseline of the same run. Written by
# `python -m benchmarks.calibrate`; a ratio fails when it is more than `tolerance` above: `same` on the machine and
# interpreter named here, `other` elsewhere, where compilers and interpreters move ratios without any change of ours;
# `wide` for those of `judge.WIDE`, whose own spread is more, and `exact` for instructions.

"""


def write(data: dict[str, Any]) -> None:
    usual, counted = data["usual"], data["instructions"]
    lines = [f'measured_on = "{data["measured_on"]}"', f'counted_with = "{data["counted_with"]}"', "", "[tolerance]"]
    lines += [*(f"{k} = {v:g}" for k, v in data["tolerance"].items()), ""]
    lines += ["[usual]", *(f'"{name}" = {usual[name]:.4g}' for name in CASES if name in usual)]
    lines += ["", "[instructions] # of one call of the subject, by callgrind"]
    lines += [f'"{name}" = {counted[name]:.1f}' for name in CASES if name in counted]
    TABLE.write_text(HEAD + "\n".join(lines) + "\n")


def main(names: list[str]) -> None:
    if names[:1] == ["instructions"]:
        data = tomllib.loads(TABLE.read_text())
        counted = instructions([name for name in CASES if countable(name)])
        write({**data, "counted_with": built_with(), "instructions": counted})
        return
    old = tomllib.loads(TABLE.read_text()) if TABLE.exists() else {"usual": {}}
    if names and old["measured_on"] != reference():
        raise SystemExit(f"the table is of another machine ({old['measured_on']}): write it whole")
    chosen = names or list(CASES)
    found: dict[str, list[float]] = {name: [] for name in chosen}
    for turn in range(TURNS):
        for name, ratio in alone(*chosen).items():
            found[name].append(ratio)
        print(f"turn {turn + 1} of {TURNS}", flush=True)
    usual = {**old["usual"], **{name: statistics.median(ratios) for name, ratios in found.items()}}
    rest = {
        "tolerance": {"same": 0.1, "other": 1.0, "exact": 0.03, "wide": 0.6},
        "counted_with": "",
        "instructions": {},
    }
    write({**rest, **old, "usual": usual, "measured_on": reference()})
    worst = sorted(((max(r) / min(r) - 1, name) for name, r in found.items()), reverse=True)[:10]
    print("spread of the five:", *(f"  {name}: {spread:.0%}" for spread, name in worst), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
