"""Runs campaigns: `python -m loadtests run --peer fastlb,haproxy,nginx --scenario all`. See the README here."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from fastlb.bench.machine import machine
from loadtests import campaign, limits, report, soak
from loadtests.model import Scenario, Verdict
from loadtests.peers import CHECKOUT
from loadtests.scenarios import SCENARIOS
from loadtests.timeline import Outcome

SHORT = 15  # seconds of a scenario with --short
AROUND = 10  # seconds that a run of a scenario takes beside its own
MORE = 75  # exit status of a slice after which there is more to run (EX_TEMPFAIL of sysexits.h)
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
    worker.add_argument("--seed", type=int, default=1)
    worker.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one a core")
    options = parser.parse_args(argv)
    if options.command == "run" and options.slice and not options.resume:
        parser.error("--slice needs --resume FILE: where is the rest to go on from?")
    return options


def chosen(text: str) -> list[Scenario]:
    names = list(SCENARIOS) if text == "all" else [n for n in text.split(",") if n]
    unknown = [n for n in names if n not in SCENARIOS]
    if unknown:
        raise SystemExit(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    return [SCENARIOS[n] for n in names]


def show(outcome: Outcome, verdicts: list[Verdict]) -> None:
    """One run on the terminal."""
    whole = all(v.held for v in verdicts) and not outcome.broken
    figures = report.summary(outcome)
    p50, p99, errors = (figures[k] or 0.0 for k in ("p50", "p99", "errors"))
    print(
        f"  {outcome.peer:8} {'held  ' if whole else 'MISSED'}  {figures['rate'] or 0:6.0f}/s  p50 {p50:6.1f} ms  "
        f"p99 {p99:7.1f} ms  errors {errors:.2%}",
        flush=True,
    )
    for v in verdicts:
        if not v.held:
            sign = ">=" if v.criterion.at_least else "<="
            print(f"           {v.criterion.text}: {v.value:.4g}, wanted {sign} {v.limit:.4g} {v.criterion.unit}")
    for text in [*outcome.broken, *outcome.trouble]:
        print(f"           {text}")


def run(options: argparse.Namespace) -> int:
    peers, scenarios = campaign.make_peer_list(options.peer), chosen(options.scenario)
    how = campaign.Options(options.seed, options.processes, options.remote, options.address, options.master_port)
    seconds = {s.name: max(s.least, options.duration or (SHORT if options.short else s.seconds)) for s in scenarios}
    expected = len(peers) * sum(s + AROUND for s in seconds.values())
    began = time.monotonic()
    print(f"{len(scenarios)} scenarios, {len(peers)} peers: about {expected // 60} min {expected % 60} s", flush=True)
    result = report.Report(time.strftime("%Y%m%d-%H%M%S"), machine(), {s.name: s for s in scenarios}, [], {})
    if options.resume and options.resume.exists():
        result = report.resumed(json.loads(options.resume.read_text()), scenarios, options.slack)
    if not options.no_limits and not options.remote and result.limits is None:
        result.limits = limits.measure(how)
        print(result.limits.told(), flush=True)
    ran = 0
    for scenario in scenarios:
        print(f"{scenario.name}: {scenario.title}", flush=True)
        for peer in peers:
            if (scenario.name, peer) in result.verdicts:
                continue
            if options.slice and ran and time.monotonic() - began + seconds[scenario.name] + AROUND > options.slice:
                print(f"more is left: run this again with --resume {options.resume}", flush=True)
                return MORE
            ran += 1
            outcome = campaign.run(scenario, peer, seconds[scenario.name], options.users or scenario.peak, how)
            verdicts = [c.judge(outcome, options.slack) for c in scenario.criteria]
            result.outcomes.append(outcome)
            result.verdicts[scenario.name, peer] = verdicts
            result.about[peer] = outcome.version
            show(outcome, verdicts)
            if options.resume:
                options.resume.write_text(json.dumps(report.pack(result)))
    passed = all(
        not o.broken and all(v.held for v in result.verdicts[o.scenario, o.peer])
        for o in result.outcomes
        if o.peer == peers[0]
    )
    path = report.save(result, options.out)
    if options.resume:
        options.resume.unlink()
    print(f"{'passed' if passed else 'FAILED'}: {path} and {path.with_suffix('.json').name}")
    return 0 if passed else 1


def work(options: argparse.Namespace) -> int:
    """Serves one campaign after the other until it is interrupted: a master that ends sends its workers home."""
    argv = [sys.executable, "-m", "locust", "-f", str(campaign.LOCUSTFILE), "--worker", "--master-host", options.master]
    argv += ["--master-port", str(options.master_port), "--processes", str(options.processes)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "CAMPAIGN_SEED": str(options.seed)}
    try:
        while True:
            subprocess.run(argv, check=False, env=environment)
            time.sleep(1.0)  # no master yet: ask again
    except KeyboardInterrupt:
        return 0


def main() -> int:
    options = arguments()
    if options.command == "list":
        for s in SCENARIOS.values():
            print(f"{s.name:20} {s.seconds:4} s  {s.title}\n{'':28}{s.story}")
        return 0
    if options.command == "soak":
        print(f"soak: {options.duration} s", flush=True)
        how = campaign.Options(options.seed, options.processes)
        return soak.run(options.duration, options.users, how, options.out)
    return run(options) if options.command == "run" else work(options)


if __name__ == "__main__":
    sys.exit(main())
