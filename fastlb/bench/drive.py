"""The generator as a process: lines on standard input, answers as lines on standard output.

First a plan as JSON, answered by how many connections are open and were answered once; then how many seconds to
drive, answered by what was counted as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

from fastlb.bench.load import Generator


def ahead() -> None:
    """At a fixed rate the generator goes before the servers it shares its core with, where this user may do so.

    Otherwise a latency is for the most part how long the scheduler let a server run on.
    """
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def main() -> None:
    plan = json.loads(sys.stdin.readline())
    os.sched_setaffinity(0, {plan["core"]})
    if plan["rate"]:
        ahead()
    generator = Generator(
        "127.0.0.1",
        plan["port"],
        bytes.fromhex(plan["request"]),
        connections=plan["connections"],
        rate=plan["rate"],
        close=plan["close"],
        upgrade=bytes.fromhex(plan["upgrade"]),
        expect=plan["expect"],
        tls=plan["tls"],
        resume=plan["resume"],
    )
    print(generator.prepare(), flush=True)
    seconds = sys.stdin.readline()
    if seconds:
        print(json.dumps(generator.run(float(seconds))), flush=True)
        sys.stdin.readline()  # keeps what is open until told


if __name__ == "__main__":
    main()
