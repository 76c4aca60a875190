"""Instructions that a case's statement executes, counted by callgrind: exact where times are not.

One Python runs under valgrind for all cases asked for, each in turn: N calls, then 2N; the difference divided by N is
what one call takes, the interpreter's share included, what a loop costs once not. callgrind writes out what it counted
whenever the C library's `times` is entered, which is how the program tells it where a part ends. Counts depend on
compiler and interpreter, not on the load of the machine. `python -m benchmarks.callgrind [NAME ...]` prints them.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENOUGH = 2_000_000  # instructions of a count: what two of one build differ by is a few hundred
# What would take minutes here; the same functions are counted with less to work on
LARGE = ("/10000", "/100000")
SLOW = {"rebuild/maglev/1000", "rebuild/ring/1000", "routing table/1000"}


def built_with() -> str:
    """What moves counts: interpreter and compiler."""
    compiler = subprocess.run(["cc", "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
    return f"Python {platform.python_version()}, cc {compiler}, {platform.machine()}"


def countable(name: str) -> bool:
    """Whether a case is one of the table's: not too large for valgrind."""
    return not name.endswith(LARGE) and name not in SLOW


def instructions(names: Sequence[str]) -> dict[str, float]:
    """Instructions of one call of each case's subject.

    Takes a quarter of a minute for Python's start and imports and about half a second a case. Raises RuntimeError
    with what valgrind said when it did not count.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out"
        valgrind = ["valgrind", "--tool=callgrind", "--dump-before=times", f"--callgrind-out-file={out}"]
        paths = os.pathsep.join([str(ROOT), *(p for p in sys.path if p)])
        # the order of sets must not differ from one count to the next
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": paths}
        command = [*valgrind, sys.executable, "-m", "benchmarks.callgrind", "--inside", out, *names]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"callgrind did not count:\n{done.stderr[-2000:]}")
    counted: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return counted


def _part(out: str) -> int:
    """Instructions since `times` was called the last time; callgrind has written them out when `times` returns."""
    os.times()
    files = sorted(Path(out).parent.glob("out.*"), key=lambda p: int(p.suffix[1:]))  # others may ask for times, too
    found = re.search(r"^totals: (\d+)", files[-1].read_text(), re.MULTILINE)
    for path in files:
        path.unlink()
    if found is None:
        raise RuntimeError(f"{files[-1]} has no totals")
    return int(found.group(1))


def _count(out: str, names: Iterable[str]) -> dict[str, float]:
    """The part that runs under valgrind."""
    from benchmarks.cases import CASES

    found = {}
    gc.disable()
    for name in names:
        case = CASES[name]
        values = case.names()
        subject = timeit.Timer(case.subject, globals=values)
        settle = timeit.Timer(case.before or "pass", globals=values)
        subject.timeit(1)  # tables are built by the first use
        settle.timeit(1)
        os.times()
        subject.timeit(2)
        one = _part(out) / 2
        calls = max(2, round(ENOUGH / one) // 2 * 2)  # even: weights go to and fro
        counts = []
        for n in (calls, 2 * calls):
            subject.timeit(4)  # what reading left in caches of the interpreter
            settle.timeit(1)
            os.times()
            subject.timeit(n)
            counts.append(_part(out))
        found[name] = (counts[1] - counts[0]) / calls
        del values, subject, settle
        gc.collect()
    return found


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--inside"]:
        print(json.dumps(_count(arguments[1], arguments[2:])))
        return
    from benchmarks.cases import CASES

    print(f"# {built_with()}")
    for name, count in instructions(arguments or [name for name in CASES if countable(name)]).items():
        print(f'"{name}" = {count:.1f}')


if __name__ == "__main__":
    main(sys.argv[1:])
