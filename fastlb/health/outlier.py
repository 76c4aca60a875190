"""Passive health: servers that answer much worse than they should, or than their peers, are left out for a while.

Workers count into the shared region what they count anyway; the process that owns the region looks at it every second,
so requests pay nothing. Ejection is a flag beside the active checks' own: a server takes requests when it is up and not
ejected. Rules and figures: outlier_rules.py, after Envoy's outlier detection, with latency added.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from fastlb.control.counters import STATUS_5XX, TIME_RESPONSE
from fastlb.control.region import DRAIN, EJECTED, MAINT, UP, Mark, Region
from fastlb.control.slots import Assignment, ServerId
from fastlb.health.monitor import Status
from fastlb.health.outlier_rules import ejection_time, latency_outliers, may_eject, success_outliers
from fastlb.health.ramp import Ramps
from fastlb.spec import Backend, Outlier, Server, Spec

log = logging.getLogger("fastlb.health")

SWEEP = 1.0  # seconds
QUANTILE = 0.95


@dataclass(frozen=True, slots=True)
class Standing:
    """What passive checks know of a server."""

    ejected: bool
    left: float  # seconds until it is readmitted
    times: int  # what the next ejection's length comes from: up by one each, down by one each good interval
    reason: str  # of the last ejection, '' = never
    success_rate: float | None  # of the last interval, 0-1; None: too few requests
    p95: float | None  # of the last interval, seconds to the response head; None: too few


@dataclass(slots=True)
class _Watched:
    """One server."""

    server: Server
    index: int
    until: float = 0.0  # 0 = not ejected
    times: int = 0
    reason: str = ""
    fresh: bool = False  # ejected or readmitted since the last interval began
    spared: bool = False  # it was said that it should go but must stay
    good_checks: int = 0  # in a row since the ejection
    # at the beginning of the interval
    ended: int = 0
    failures: int = 0
    errors: int = 0
    mark: Mark | None = None  # None: nothing has been counted
    # of the last interval
    success_rate: float | None = None
    p95: float | None = None


@dataclass(slots=True)
class _Group:
    """One backend whose outliers are looked for."""

    backend: Backend
    rules: Outlier
    members: list[_Watched]
    due: float  # end of the interval


class Detector:
    """All passive checks of one balancer. `start` needs a running loop; tests call `sweep` with a time of their own."""

    def __init__(
        self, region: Region, ramps: Ramps, *, on_turn: Callable[[str, Server, str], None] | None = None
    ) -> None:
        """`on_turn(backend, server, reason)` is called after each ejection and readmission."""
        self._region = region
        self._ramps = ramps
        self._on_turn = on_turn
        self._groups: dict[str, _Group] = {}
        self._watched: dict[ServerId, _Watched] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._now = 0.0

    def start(self) -> None:
        """Looks every second from now on."""
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time()
        self._timer = self._loop.call_later(SWEEP, self._run)

    def close(self) -> None:
        """Ends that; states stay as they are. May be repeated."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def apply(self, spec: Spec, assignment: Assignment) -> None:
        """Watches the servers of `spec` from now on. What was known of those that stay is kept. O(servers)."""
        now = self._time()
        before, self._watched = self._watched, {}
        groups: dict[str, _Group] = {}
        for backend in spec.backends:
            old = self._groups.get(backend.name)
            members = []
            for server in backend.servers:
                identity = (backend.name, server.address)
                index = assignment.servers[identity]
                one = before.get(identity)
                if one is not None and one.index != index:
                    one = None
                if backend.outlier is None:
                    self._drop(index)
                    continue
                one = one or self._begin(index, server, backend.outlier, now)
                one.server = server
                self._watched[identity] = one
                members.append(one)
            if backend.outlier is not None:
                due = old.due if old and old.rules == backend.outlier else now + backend.outlier.interval
                groups[backend.name] = _Group(backend, backend.outlier, members, due)
        self._groups = groups
        for identity, one in before.items():
            if identity not in assignment.servers:
                self._ramps.finish(one.index)

    def _begin(self, index: int, server: Server, rules: Outlier, now: float) -> _Watched:
        one = _Watched(server, index)
        if self._region.state(index) & EJECTED:  # by the process that had the region before
            one.until, one.times, one.reason = now + rules.base, 1, "ejected before"
        self._mark(one)
        return one

    def _drop(self, index: int) -> None:
        if self._region.state(index) & EJECTED:
            self._region.reset_failures(index)
            self._region.change_state(index, clear=EJECTED)

    def status(self, backend: str, server: Server) -> Standing | None:
        """What is known of the server; None where its backend has no passive checks."""
        one = self._watched.get((backend, server.address))
        if one is None:
            return None
        left = max(0.0, one.until - self._time()) if one.until else 0.0
        return Standing(bool(one.until), left, one.times, one.reason, one.success_rate, one.p95)

    def checked(self, backend: str, server: Server, status: Status) -> None:
        """Called after each active check: good ones in a row, as many as `rise`, end the first ejection early.

        Only the first: a server that is ejected again soon after fails at something its check does not see.
        """
        one, group = self._watched.get((backend, server.address)), self._groups.get(backend)
        if one is None or group is None or not one.until or status.last is None:
            return
        one.good_checks = one.good_checks + 1 if status.last.good else 0
        check = group.backend.health_check
        if group.rules.check_readmits and one.times == 1 and status.up and check and one.good_checks >= check.rise:
            self._readmit(group, one, f"its health check passed {one.good_checks} times")

    # --- every second

    def _time(self) -> float:
        return self._loop.time() if self._loop is not None else self._now

    def _run(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(SWEEP, self._run)
        self.sweep(self._loop.time())

    def sweep(self, now: float) -> None:
        """Readmits, ejects and, once an interval, compares. O(servers)."""
        self._now = now
        for group in self._groups.values():
            self._readmissions(group, now)
            self._consecutive(group, now)
            if now >= group.due:
                self._compare(group, now)
                group.due = now + group.rules.interval

    def _readmissions(self, group: _Group, now: float) -> None:
        for one in group.members:
            if not one.until:
                continue
            if not self._region.state(one.index) & EJECTED:  # somebody else put it back
                one.until = 0.0
                self._region.reset_failures(one.index)
            elif now >= one.until:
                self._readmit(group, one, "its time is over")

    def _consecutive(self, group: _Group, now: float) -> None:
        limit = group.rules.consecutive_failures
        if not limit:
            return
        failing = []
        for one in group.members:
            failures = self._region.failures_in_a_row(one.index)
            if failures < limit:
                one.spared = False
            elif self._takes(one):
                failing.append((failures, one))
        for failures, one in sorted(failing, key=lambda pair: -pair[0]):
            self._eject(group, one, f"{failures} requests failed in a row", now)

    # --- every interval

    def _mark(self, one: _Watched) -> tuple[int, float]:
        """Begins an interval: (answers of the one that ends, seconds that 95 % of them took at most)."""
        region, index = self._region, one.index
        ended = region.picks(index) - region.inflight(index)
        if ended == one.ended:
            return (
                0,
                0.0,
            )  # not even looked at: counters that nobody wrote have no memory yet, and reading gives them some
        one.ended = ended
        one.failures = region.failures(index)
        one.errors = region.server_totals(index)[STATUS_5XX]
        one.mark = one.mark or Mark()
        answers, (time,) = region.quantiles("server", index, TIME_RESPONSE, (QUANTILE,), one.mark, one.mark)
        return answers, time / 1e6

    def _measure(self, one: _Watched, least: int) -> None:
        """Success rate and p95 of the interval that ends."""
        one.success_rate = one.p95 = None
        ended, failures, errors = one.ended, one.failures, one.errors
        answers, time = self._mark(one)
        ended = one.ended - ended
        if ended < least:
            return
        # Attempts that failed and 5xx answers overlap (a 503 is both), so the larger of the two counts.
        failed = max(one.failures - failures, one.errors - errors)
        one.success_rate = max(0.0, 1.0 - failed / ended)
        if answers >= least:
            one.p95 = time

    def _compare(self, group: _Group, now: float) -> None:
        rules = group.rules
        for one in group.members:
            self._measure(one, rules.min_requests)
        there = [one for one in group.members if self._takes(one)]
        if rules.success_rate:
            rated = [(one, one.success_rate) for one in there if one.success_rate is not None]
            if len(rated) >= rules.min_servers:
                rates = [rate for _, rate in rated]
                mean = sum(rates) / len(rates)
                for i in success_outliers(rates):
                    text = f"{rates[i]:.1%} of its requests succeeded, of all servers' {mean:.1%}"
                    self._eject(group, rated[i][0], text, now)
        if rules.latency:
            timed = [(one, one.p95) for one in there if one.p95 is not None and self._takes(one)]
            times = [p95 for _, p95 in timed]
            for i in latency_outliers(times, rules.latency, rules.latency_floor):
                peers = statistics.median([*times[:i], *times[i + 1 :]])
                text = f"95% of its answers begin within {_ms(times[i])}, of the others' within {_ms(peers)}"
                self._eject(group, timed[i][0], text, now)
        for one in group.members:
            if not one.until and not one.fresh and one.times:
                one.times -= 1
            one.fresh = False

    # --- leaving and coming back

    def _takes(self, one: _Watched) -> bool:
        region = self._region
        return region.state(one.index) & (UP | DRAIN | MAINT | EJECTED) == UP and region.weight(one.index) > 0

    def _left(self, group: _Group) -> tuple[int, int, int]:
        """Servers in service by the operator's will; of these those out for their health; those that take requests."""
        total = out = usable = 0
        for one in group.members:
            state = self._region.state(one.index)
            if state & (DRAIN | MAINT) or not self._region.weight(one.index):
                continue
            total += 1
            if state & (UP | EJECTED) == UP:
                usable += 1
            else:
                out += 1
        return total, out, usable

    def _eject(self, group: _Group, one: _Watched, reason: str, now: float) -> None:
        rules, region = group.rules, self._region
        total, out, usable = self._left(group)
        name = f"{group.backend.name}/{one.server.name}"
        if not may_eject(total, out, usable, rules.max_ejected):
            if not one.spared:
                one.spared = True
                log.warning("server %s stays although %s: %d of %d servers are left", name, reason, usable, total)
            return
        one.times += 1
        seconds = ejection_time(rules.base, rules.max, one.times)
        one.until, one.reason, one.fresh, one.good_checks = now + seconds, reason, True, 0
        region.change_state(one.index, set=EJECTED)
        log.warning(
            "server %s is EJECTED for %g s: %s; %d of %d servers left", name, seconds, reason, usable - 1, total
        )
        if self._on_turn is not None:
            self._on_turn(group.backend.name, one.server, f"ejected for {seconds:g} s: {reason}")

    def _readmit(self, group: _Group, one: _Watched, reason: str) -> None:
        region = self._region
        window = group.backend.slow_start or group.rules.slow_start
        one.until, one.fresh, one.spared = 0.0, True, False
        self._ramps.start(one.index, window)
        region.reset_failures(one.index)
        region.change_state(one.index, clear=EJECTED)
        slowly = f", its share grows for {window:g} s" if window else ""
        log.info("server %s/%s is no longer ejected: %s%s", group.backend.name, one.server.name, reason, slowly)
        if self._on_turn is not None:
            self._on_turn(group.backend.name, one.server, f"ejection ended: {reason}")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
