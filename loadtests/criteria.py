"""The measures that scenarios are judged by. Shares of time (`begin`, `end`) run from 0 to 1."""

from __future__ import annotations

import math

from loadtests.model import Criterion
from loadtests.timeline import Outcome


def _when(begin: float, end: float) -> str:
    return "" if (begin, end) == (0.0, 1.0) else f", {begin:.0%} to {end:.0%} of the time"


def errors_at_most(share: float, begin: float = 0.0, end: float = 1.0) -> Criterion:
    return Criterion(
        f"failed requests{_when(begin, end)}", lambda o: o.error_share(begin, end) * 100, share * 100, unit="%"
    )


def latency_at_most(percent: float, seconds: float, begin: float = 0.0, end: float = 1.0) -> Criterion:
    return Criterion(
        f"p{percent:g}{_when(begin, end)}",
        lambda o: o.percentile(percent / 100, begin, end) * 1e3,
        seconds * 1e3,
        unit="ms",
        timing=True,
    )


def goodput_at_least(share: float, begin: float = 0.0, end: float = 1.0) -> Criterion:
    """Of what the servers can do together."""
    return Criterion(
        f"goodput, of the servers' capacity{_when(begin, end)}",
        lambda o: o.goodput(begin, end) / o.capacity * 100 if o.capacity else math.nan,
        share * 100,
        at_least=True,
        unit="%",
        timing=True,
    )


def rate_at_least(share: float, part: tuple[float, float], of: tuple[float, float]) -> Criterion:
    """Goodput of one part of the time, measured by that of another: what an incident cost, or whether it is over."""
    return Criterion(
        f"goodput {part[0]:.0%} to {part[1]:.0%} of the time, of that before",
        lambda o: o.goodput(*part) / max(o.goodput(*of), 1e-9) * 100,
        share * 100,
        at_least=True,
        unit="%",
        timing=True,
    )


def unfairness(outcome: Outcome, begin: float, end: float) -> float:
    """How far the most and the least used server are apart, as a share of the mean."""
    counts = outcome.servers(begin, end).values()
    return (max(counts) - min(counts)) / (sum(counts) / len(counts)) if counts else math.nan


def evenly_spread(share: float, begin: float = 0.0, end: float = 1.0) -> Criterion:
    return Criterion(
        f"difference between servers, of the mean{_when(begin, end)}",
        lambda o: unfairness(o, begin, end) * 100,
        share * 100,
        unit="%",
    )


def servers_used(count: int, begin: float = 0.0, end: float = 1.0) -> Criterion:
    return Criterion(
        f"servers that answered{_when(begin, end)}", lambda o: float(len(o.servers(begin, end))), count, at_least=True
    )


def server_share_at_most(server: str, share: float, begin: float = 0.0, end: float = 1.0) -> Criterion:
    def measure(o: Outcome) -> float:
        counts = o.servers(begin, end)
        return counts[server] / sum(counts.values()) * 100 if counts else math.nan

    return Criterion(f"share of {server}{_when(begin, end)}", measure, share * 100, unit="%")


def marks_at_least(text: str, share: float, good: str, *others: str) -> Criterion:
    """Share of a fact that journeys count among its alternatives."""
    return Criterion(text, lambda o: o.share_of_marks(good, *others) * 100, share * 100, at_least=True, unit="%")


def marks_at_most(text: str, share: float, bad: str, *others: str) -> Criterion:
    return Criterion(text, lambda o: o.share_of_marks(bad, *others) * 100, share * 100, unit="%")
