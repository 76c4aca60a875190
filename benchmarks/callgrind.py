"""Instructions that a statement executes, counted by callgrind: exact where times are not.

A program runs the statement N times and another one 2N times; the difference divided by N is what one call takes, the
interpreter's share included and its start not. The count depends on compiler and interpreter, not on the load of the
machine. Two starts of Python differ by some ten thousand instructions, as memory came to lie: N is so large that two
counts of one build differ by less than one in a thousand all the same. `python -m benchmarks.callgrind` prints them.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BALANCER = (
    "from fastlb.balance import Balancer, Server; b = Balancer({!r}, [Server(f'10.0.{{i}}.1:80') for i in range(100)])"
)
HEAD = (
    "raw = b'GET /some/page?x=1 HTTP/1.1\\r\\nHost: www.example.com\\r\\nAccept: */*\\r\\n'"
    " + b''.join(b'X-Field-%d: value of field %d\\r\\n' % (i, i) for i in range(10)) + b'\\r\\n'"
)
# name: (preparation, statement); preparations import little, since every import costs fifty times as long here
EXACT = {
    "pick, round_robin": (BALANCER.format("round_robin"), "b.pick()"),
    "pick, weighted_round_robin": (BALANCER.format("weighted_round_robin"), "b.pick()"),
    "pick and release, least_connections": (BALANCER.format("least_connections"), "b.release(b.pick())"),
    "request head": (f"from fastlb.http import RequestParser; feed = RequestParser().feed; {HEAD}", "feed(raw)"),
    "rewrite": (f"from fastlb.http.rewrite import RequestPlan; p = RequestPlan(); {HEAD}", "p.apply(raw)"),
}


def built_with() -> str:
    """What moves counts: interpreter and compiler."""
    compiler = subprocess.run(["cc", "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
    return f"Python {platform.python_version()}, cc {compiler}, {platform.machine()}"


def _run(name: str, calls: int) -> int:
    prepare, statement = EXACT[name]
    program = f"{prepare}\ndef run(n):\n    for _ in range(n):\n        {statement}\nrun(3)\nrun({calls})\n"
    with tempfile.TemporaryDirectory() as folder:
        argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", sys.executable, "-S", "-c"]
        paths = os.pathsep.join([str(ROOT), *(p for p in sys.path if p)])
        # the order of sets must not differ between the two runs
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": paths}
        done = subprocess.run([*argv, program], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or counted is None:
        raise RuntimeError(f"callgrind did not count {name}:\n{done.stderr[-2000:]}")
    return int(counted.group(1))


def instructions(name: str, calls: int = 10_000) -> float:
    """Instructions of one call. Takes two starts of Python under valgrind, some seconds each."""
    return (_run(name, 2 * calls) - _run(name, calls)) / calls


if __name__ == "__main__":
    print(f"# {built_with()}")
    for one in EXACT:
        print(f'"{one}" = {instructions(one):.0f}', flush=True)
