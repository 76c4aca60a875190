"""The arithmetic of outlier ejection: no clock, no region, nothing kept."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

STDEV_FACTOR = 1.9  # Envoy's success_rate_stdev_factor 1900 / 1000
GAP = 0.05  # below the mean; without it a server at 99.9 % among others at 100 % would be an outlier
LATENCY_SERVERS = 3  # two peers are the fewest that have a middle


def success_threshold(rates: Sequence[float]) -> float:
    """Success rate below which a server is an outlier among `rates` (its own included): mean - 1.9 * population
    standard deviation, Envoy's rule; any unit."""
    return statistics.fmean(rates) - STDEV_FACTOR * statistics.pstdev(rates)


def success_outliers(rates: Sequence[float]) -> list[int]:
    """Indices of the servers whose success rate (0-1) is an outlier and at least 5 points below the mean, the worst
    first."""
    limit = min(success_threshold(rates), statistics.fmean(rates) - GAP)
    return sorted((i for i, rate in enumerate(rates) if rate < limit), key=lambda i: rates[i])


def latency_outliers(times: Sequence[float], factor: float, floor: float) -> list[int]:
    """Indices of the servers whose time is above `floor` and above `factor` times the median of the others', the
    slowest first.

    The median of the peers stays where it is however slow one server gets, which a mean or a deviation does not.
    """
    if len(times) < LATENCY_SERVERS:
        return []
    found = []
    for i, time in enumerate(times):
        if time > floor and time > factor * statistics.median([*times[:i], *times[i + 1 :]]):
            found.append(i)
    return sorted(found, key=lambda i: -times[i])


def ejection_time(base: float, longest: float, times: int) -> float:
    """Seconds of the ejection number `times` (1 is the first): base * 2 ** (times - 1), at most `longest`."""
    if times > 32:
        return longest
    return min(base * 2.0 ** (times - 1), longest)


def may_eject(total: int, out: int, usable: int, share: float) -> bool:
    """Whether one more of `total` servers may be left out where `out` are out already and `usable` take requests.

    With it at most `share` of all are out (Envoy's max_ejection_percent counts the next one too), and one stays.
    """
    return usable > 1 and out + 1 <= share * total + 1e-9
