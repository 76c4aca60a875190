"""The generator as a process: a plan as JSON on standard input, what it counted as JSON on standard output."""

from __future__ import annotations

import json
import os
import sys

from fastlb.bench.load import Generator


def main() -> None:
    plan = json.load(sys.stdin)
    os.sched_setaffinity(0, {plan["core"]})
    generator = Generator(
        "127.0.0.1",
        plan["port"],
        bytes.fromhex(plan["request"]),
        connections=plan["connections"],
        rate=plan["rate"],
        close=plan["close"],
        upgrade=bytes.fromhex(plan["upgrade"]),
        expect=plan["expect"],
    )
    json.dump(generator.run(plan["seconds"]), sys.stdout)


if __name__ == "__main__":
    main()
