"""A whole campaign: every scenario against every peer, at once or in slices, judged and reported."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from fastlb.bench.machine import machine
from loadtests import campaign, limits, report
from loadtests.model import Scenario, Verdict
from loadtests.peers import CHECKOUT
from loadtests.scenarios import SCENARIOS
from loadtests.timeline import Outcome

SHORT = 15  # seconds of a scenario with --short
SHORTEST = 12  # ... and at least, however few minutes there are: less is no ground for a verdict
AROUND = 8  # seconds that a run of a scenario takes beside its own
LIMITS = 25  # seconds that measuring the generator takes
MORE = 75  # exit status of a slice after which there is more to run (EX_TEMPFAIL of sysexits.h)
RELEASE = CHECKOUT / "benchmarks" / "results"


def chosen(text: str) -> list[Scenario]:
    """Scenarios from `a,b` or `all`; ends the run when there is no such scenario."""
    names = list(SCENARIOS) if text == "all" else [n for n in text.split(",") if n]
    unknown = [n for n in names if n not in SCENARIOS]
    if unknown or not names:
        raise SystemExit(f"no such scenario: {', '.join(unknown) or '(none)'}; there are {', '.join(SCENARIOS)}")
    return [SCENARIOS[n] for n in names]


def durations(scenarios: Sequence[Scenario], peers: int, options: argparse.Namespace) -> dict[str, int]:
    """Seconds of each scenario: its own, or what the options say, but never less than it needs.

    With `--minutes` all are cut to the same length, the longest with which everything fits.
    """
    if options.minutes:
        room = options.minutes * 60 - (0 if options.no_limits or options.remote else LIMITS)
        longest = max(s.seconds for s in scenarios)
        for most in range(longest, SHORTEST, -1):
            if taken(found := {s.name: max(s.least, min(s.seconds, most)) for s in scenarios}, peers) <= room:
                return found
        return {s.name: max(s.least, SHORTEST) for s in scenarios}
    return {s.name: max(s.least, options.duration or (SHORT if options.short else s.seconds)) for s in scenarios}


def taken(seconds: dict[str, int], peers: int) -> int:
    """Seconds that all runs take together, about."""
    return peers * sum(s + AROUND for s in seconds.values())


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
        print(f"           {text}", flush=True)


def run(options: argparse.Namespace) -> int:
    """Runs what the options ask for; returns the exit status: 0 when all criteria held for the first peer."""
    began = time.monotonic()
    peers, scenarios = campaign.make_peer_list(options.peer), chosen(options.scenario)
    how = campaign.Options(options.seed, options.processes, options.remote, options.address, options.master_port)
    seconds = durations(scenarios, len(peers), options)
    plan = {"seconds": seconds, "peers": peers, "users": options.users, "seed": options.seed, "remote": options.remote}
    plan["processes"] = options.remote or options.processes
    result = report.Report(time.strftime("%Y%m%d-%H%M%S"), machine(), {s.name: s for s in scenarios}, [], {}, plan=plan)
    if options.resume and options.resume.exists():
        try:
            result = report.resumed(options.resume, result, options.slack)
        except ValueError as error:
            raise SystemExit(f"{error}; remove it to begin anew") from None
    expected = taken(seconds, len(peers))
    print(
        f"{len(scenarios)} scenarios, {len(peers)} peers: about {expected // 60} min {expected % 60} s; "
        f"{len(result.outcomes)} of {len(scenarios) * len(peers)} runs are done",
        flush=True,
    )
    if not options.no_limits and not options.remote and result.limits is None:
        result.limits = limits.measure(how)
        print(result.limits.told(), flush=True)
        if options.resume:
            report.keep(result, options.resume)
    ran = 0
    for scenario in scenarios:
        left = [peer for peer in peers if (scenario.name, peer) not in result.verdicts]
        if left:
            print(f"{scenario.name}: {scenario.title}", flush=True)
        for peer in left:
            if options.slice and ran and time.monotonic() - began + seconds[scenario.name] + AROUND > options.slice:
                print(f"more is left: run this again with --resume {options.resume}", flush=True)
                return MORE
            ran += 1
            outcome = campaign.run(scenario, peer, seconds[scenario.name], options.users or scenario.peak, how)
            verdicts = [c.judge(outcome, options.slack) for c in scenario.criteria]
            result.outcomes.append(outcome)
            result.verdicts[scenario.name, peer] = verdicts
            result.about.update({peer: outcome.version} if outcome.version else {})
            show(outcome, verdicts)
            if options.resume:
                report.keep(result, options.resume)
    return finish(result, peers, options)


def finish(result: report.Report, peers: Sequence[str], options: argparse.Namespace) -> int:
    """Writes the report and says of each peer how often its criteria held."""
    passed = True
    for peer in peers:
        runs = [o for o in result.outcomes if o.peer == peer]
        held = sum(not o.broken and all(v.held for v in result.verdicts[o.scenario, peer]) for o in runs)
        passed = passed and (peer != peers[0] or held == len(runs))
        print(f"{peer}: all criteria held in {held} of {len(runs)} scenarios")
    path = report.save(result, *((RELEASE, "campaign") if options.release else (options.out,)))
    if options.resume:
        Path(options.resume).unlink()
    print(f"{'passed' if passed else 'FAILED'}: {path} and {path.with_suffix('.json').name}")
    return 0 if passed else 1
