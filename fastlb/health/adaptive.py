"""Adaptive concurrency: the limit of requests of a backend follows how its response times grow with load.

Gradient2 of Netflix's concurrency-limits: the time of now against a slow average of it. Where they are equal nothing
queues anywhere and the limit grows; where the time of now is longer, requests wait somewhere behind, and the limit
shrinks until they do not.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from fastlb.control.counters import REQUESTS, RESPONSE_US
from fastlb.control.group_limits import limit, requests, set_limit
from fastlb.control.region import Region
from fastlb.control.slots import Assignment
from fastlb.spec import AdaptiveConcurrency, Spec

log = logging.getLogger("fastlb.health")

SWEEP = 1.0  # seconds
TOLERANCE = 1.5  # the time may grow by half before the limit shrinks
QUEUE = 4.0  # what it grows by at most, before smoothing
SMOOTHING = 0.2
MEMORY = 600  # samples of the slow average
RECOVERY = 2.0  # the slow average is too slow when it is this many times the time of now


def gradient(long: float, short: float) -> float:
    """clamp(tolerance * long / short, 0.5, 1)."""
    return min(1.0, max(0.5, TOLERANCE * long / short))


def next_limit(current: float, long: float, short: float, inflight: int, rules: AdaptiveConcurrency) -> float:
    """The limit after a second in which answers took `short` seconds on average, and `long` in the longer run.

    0.8 L + 0.2 (L g + 4), in the bounds; it does not grow while less than half of it is in use. O(1).
    Source: Netflix concurrency-limits, Gradient2Limit.
    """
    if inflight < current / 2:
        return current
    wanted = current * (1 - SMOOTHING) + SMOOTHING * (current * gradient(long, short) + QUEUE)
    return min(float(rules.max), max(float(rules.min), wanted))


def next_long(long: float, short: float) -> float:
    """The slow average with one more sample; it falls faster when it is far above."""
    if long == 0:
        return short
    long += (short - long) * 2 / (MEMORY + 1)
    return long * 0.95 if long / short > RECOVERY else long


@dataclass(slots=True)
class _Group:
    """One backend with such a limit."""

    name: str
    index: int
    rules: AdaptiveConcurrency
    limit: float
    long: float = 0.0
    ended: int = 0
    spent_us: int = 0


class Adaptive:
    """All adaptive limits of one balancer. `start` needs a running loop; tests call `sweep`."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._groups: dict[str, _Group] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Looks every second from now on."""
        self._timer = asyncio.get_running_loop().call_later(SWEEP, self._run)

    def close(self) -> None:
        """Ends that; limits stay as they are. May be repeated."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP, self._run)
        self.sweep()

    def apply(self, spec: Spec, assignment: Assignment) -> None:
        """Sets the limits of `spec` from now on; what was learned of backends that stay is kept."""
        before, self._groups = self._groups, {}
        for backend in spec.backends:
            rules, index = backend.adaptive_concurrency, assignment.backends[backend.name]
            if rules is None:
                if limit(self._region, index):
                    set_limit(self._region, index, 0)
                continue
            one = before.get(backend.name)
            if one is None or one.index != index or one.rules != rules:
                totals = self._region.group_totals(index)
                start = float(rules.initial)
                one = _Group(backend.name, index, rules, start, 0.0, totals[REQUESTS], totals[RESPONSE_US])
                set_limit(self._region, index, rules.initial)
            self._groups[backend.name] = one

    def inflight(self, group: int) -> int:
        """Requests of the backend at this moment; tests put their own in its place."""
        return requests(self._region, group)

    def sweep(self) -> None:
        """Moves every limit by what the last second says. O(backends with one)."""
        for one in self._groups.values():
            totals = self._region.group_totals(one.index)
            ended, spent = totals[REQUESTS] - one.ended, totals[RESPONSE_US] - one.spent_us
            one.ended, one.spent_us = totals[REQUESTS], totals[RESPONSE_US]
            if ended <= 0 or spent <= 0:
                continue
            short = spent / ended / 1e6
            one.long = next_long(one.long, short)
            before = round(one.limit)
            one.limit = next_limit(one.limit, one.long, short, self.inflight(one.index), one.rules)
            after = round(one.limit)
            if after != before:
                set_limit(self._region, one.index, after)
                log.debug("backend %s: %d requests at a time, was %d; answers take %.1f ms, in the long run %.1f ms",
                          one.name, after, before, short * 1e3, one.long * 1e3)  # fmt: skip
