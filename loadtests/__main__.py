"""Runs campaigns: `python -m loadtests run --peer fastlb,haproxy,nginx --scenario all`. See the README here."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from fastlb.bench.process import unwind_on_term
from loadtests import campaign, runs, soak
from loadtests.peers import CHECKOUT
from loadtests.runs import MORE, SHORT
from loadtests.scenarios import SCENARIOS

OUT = CHECKOUT / "build" / "loadtests"


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="run scenarios against peers and compare")
    run.add_argument("--peer", default="fastlb,haproxy,nginx", help="default fastlb,haproxy,nginx; the first is judged")
    run.add_argument("--scenario", default="all", help="names with commas, or all (default)")
    run.add_argument("--users", type=int, help="users at the peak, instead of each scenario's own")
    run.add_argument("--duration", type=int, help="seconds of each scenario, instead of its own")
    run.add_argument("--short", action="store_true", help=f"{SHORT} s each: does it run, not how well")
    run.add_argument("--minutes", type=float, help="cut the scenarios' seconds so that all of it takes about so long")
    run.add_argument("--seed", type=int, default=1, help="of all that users and servers choose (default 1)")
    run.add_argument("--slack", type=float, default=1.0, help="widen criteria of time by this factor (slow machines)")
    run.add_argument("--processes", type=int, default=2, help="of Locust (default 2)")
    run.add_argument("--no-limits", action="store_true", help="do not measure the generator's own limits first")
    run.add_argument("--remote", type=int, default=0, metavar="N", help="wait for N workers of other machines instead")
    run.add_argument("--address", default="127.0.0.1", help="of this machine, as workers of others reach it")
    run.add_argument("--master-port", type=int, default=5557, help="where remote workers come to (default 5557)")
    run.add_argument("--resume", type=Path, metavar="FILE",
                     help="keep what has run in FILE and go on from there, with the same options; exit status "
                     f"{MORE} while there is more to run")  # fmt: skip
    run.add_argument("--slice", type=float, metavar="SECONDS", help="with --resume: stop after about so long")
    run.add_argument("--out", type=Path, default=OUT, help="folder of the reports (default build/loadtests)")
    run.add_argument("--release", action="store_true", help="keep the report as benchmarks/results/campaign.*")

    soak_parser = commands.add_parser(
        "soak", help="steady traffic for long: memory, descriptors and counters stay flat"
    )
    soak_parser.add_argument("--duration", type=int, default=3600, help="seconds (default 3600)")
    soak_parser.add_argument("--users", type=int, default=40)
    soak_parser.add_argument("--seed", type=int, default=1)
    soak_parser.add_argument("--processes", type=int, default=2, help="of Locust (default 2)")
    soak_parser.add_argument("--out", type=Path, default=OUT)

    commands.add_parser("list", help="the scenarios and what they are about")

    worker = commands.add_parser("worker", help="ask for a campaign that runs on another machine")
    worker.add_argument("--master", required=True, help="address of that machine")
    worker.add_argument("--master-port", type=int, default=5557)
    worker.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one a core")
    options = parser.parse_args(argv)
    if options.command == "run" and options.slice and not options.resume:
        parser.error("--slice needs --resume FILE: where is the rest to go on from?")
    return options


def work(options: argparse.Namespace) -> int:
    """Serves one campaign after the other until it is ended: a master that ends sends its workers home."""
    argv = [sys.executable, "-m", "locust", "-f", str(campaign.LOCUSTFILE), "--worker", "--master-host", options.master]
    argv += ["--master-port", str(options.master_port), "--processes", str(options.processes)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    while True:
        locust = subprocess.Popen(argv, env=environment, start_new_session=True)
        try:
            locust.wait()
            time.sleep(1.0)  # no master yet: ask again
        except KeyboardInterrupt:
            return 0
        finally:
            try:
                os.killpg(locust.pid, signal.SIGTERM)  # its processes too, where it was not the master that ended them
            except ProcessLookupError:
                pass
            locust.wait()


def main() -> int:
    options = arguments()
    unwind_on_term()
    if options.command == "list":
        for s in SCENARIOS.values():
            print(f"{s.name:20} {s.seconds:4} s  {s.title}\n{'':28}{s.story}")
        return 0
    if options.command == "soak":
        print(f"soak: {options.duration} s", flush=True)
        how = campaign.Options(options.seed, options.processes)
        return soak.run(options.duration, options.users, how, options.out)
    return runs.run(options) if options.command == "run" else work(options)


if __name__ == "__main__":
    sys.exit(main())
