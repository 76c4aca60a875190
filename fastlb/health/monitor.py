"""Active health checks of all servers, run once for all workers by the process that owns the region."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastlb.control.region import UP, Region
from fastlb.control.slots import Assignment, ServerId
from fastlb.health.agent import Agent, AgentStatus
from fastlb.health.plan import plan_of
from fastlb.health.probe import Probe
from fastlb.health.ramp import Ramps
from fastlb.health.verdict import Verdict
from fastlb.spec import Backend, HealthCheck, Server, Spec

log = logging.getLogger("fastlb.health")


@dataclass(frozen=True, slots=True)
class Status:
    """What the checks know of a server."""

    up: bool
    streak: int  # checks in a row that contradict `up`
    needed: int  # how many of these turn it: `fall` when up, `rise` when down
    last: Verdict | None  # None: not checked yet
    changed_at: float  # time.time() of the last transition, or of the first check's arming
    fragile: bool  # up without a good check yet: a single failed one takes it down
    failed: int = 0  # checks that failed so far, whatever the state
    last_failure: Verdict | None = None
    last_failure_at: float = 0.0  # time.time()


class _Checked:
    """The checks of one server: when the next one runs, and what the results add up to."""

    def __init__(self, monitor: Monitor, backend: Backend, server: Server, check: HealthCheck, index: int) -> None:
        self.backend = backend
        self.server = server
        self.check = check
        self.index = index
        self._monitor = monitor
        self._plan = plan_of(backend, server, check)
        self._up = bool(monitor.region.state(index) & UP)
        self._fragile = self._up
        self._eager = not self._up and check.initial == "down"  # the first good check is enough
        self._streak = 0
        self._last: Verdict | None = None
        self._changed_at = time.time()
        self._failed = 0
        self._last_failure: Verdict | None = None
        self._last_failure_at = 0.0
        self._probe: Probe | None = None
        self._began = 0.0
        # Spread over an interval, so that thousands of checks do not run at one moment.
        self._timer = monitor.loop.call_later(monitor.random() * check.interval, self._begin)

    @property
    def status(self) -> Status:
        needed = self.check.fall if self._up else self.check.rise
        return Status(
            self._up, self._streak, needed, self._last, self._changed_at, self._fragile,
            self._failed, self._last_failure, self._last_failure_at,
        )  # fmt: skip

    def cancel(self) -> None:
        self._timer.cancel()
        if self._probe is not None:
            self._probe.cancel()
        self._monitor.ramps.finish(self.index)

    def _begin(self) -> None:
        loop = self._monitor.loop
        self._began = loop.time()
        self._probe = self._plan.begin(loop, self._judge)

    def _judge(self, verdict: Verdict) -> None:
        self._probe = None
        loop = self._monitor.loop
        before = self._last
        if verdict.conclusive:
            self._count(verdict)
        elif before is None or before.info != verdict.info:
            log.warning("health check of %s/%s: %s", self.backend.name, self.server.name, verdict)
        self._last = verdict
        check = self.check
        interval = check.interval if self._up else check.down_interval or check.interval
        pause = interval * (1 + check.jitter * (2 * self._monitor.random() - 1))
        self._timer = loop.call_at(max(self._began + pause, loop.time()), self._begin)
        self._monitor.checked(self)

    def _count(self, verdict: Verdict) -> None:
        if not verdict.good:
            self._failed += 1
            self._last_failure, self._last_failure_at = verdict, time.time()
        if verdict.good == self._up:
            self._streak = 0
            self._fragile = self._eager = False
            return
        self._streak += 1
        if self._up and (self._streak >= self.check.fall or self._fragile):
            self._turn(False, verdict)
        elif not self._up and (self._streak >= self.check.rise or self._eager):
            self._turn(True, verdict)

    def _turn(self, up: bool, verdict: Verdict) -> None:
        self._up, self._streak, self._fragile, self._eager = up, 0, False, False
        self._changed_at = time.time()
        self._monitor.set_up(self.backend, self.server, self.index, up)
        self._monitor.turned(self, verdict)


class Monitor:
    """All checks of one balancer. `apply` needs a running loop; `close` ends them."""

    def __init__(
        self,
        region: Region,
        *,
        chance: Callable[[], float] = random.random,
        on_check: Callable[[str, Server, Status], None] | None = None,
        on_turn: Callable[[str, Server, str], None] | None = None,
        ramps: Ramps | None = None,
    ) -> None:
        """`on_check(backend, server, status)` is called after each check, `on_turn(backend, server, reason)` after each
        transition."""
        self.region = region
        self.ramps = ramps or Ramps(region)
        self.random = chance
        self._on_check = on_check
        self._on_turn = on_turn
        self._checked: dict[ServerId, _Checked] = {}
        self._agents: dict[ServerId, Agent] = {}
        self.loop: asyncio.AbstractEventLoop

    def apply(self, spec: Spec, assignment: Assignment) -> None:
        """Checks the servers of `spec` from now on. What is checked already in the same way goes on undisturbed."""
        self.loop = asyncio.get_running_loop()
        self._apply_agents(spec, assignment)
        wanted: dict[ServerId, _Checked] = {}
        for backend in spec.backends:
            check = backend.health_check
            for server in backend.servers:
                identity = (backend.name, server.address)
                index = assignment.servers[identity]
                old = self._checked.pop(identity, None)
                if check is None or not server.resolved:
                    if old is not None:
                        old.cancel()
                    if old is not None and server.resolved:  # no check any more: nothing says it is down
                        self.set_up(backend, server, index, True)
                    continue
                if old is not None and _same(old, index, backend, server, check):
                    old.backend, old.server = backend, server
                    wanted[identity] = old
                    continue
                if old is not None:
                    old.cancel()
                wanted[identity] = _Checked(self, backend, server, check, index)
        for gone in self._checked.values():
            gone.cancel()
        self._checked = wanted

    def _apply_agents(self, spec: Spec, assignment: Assignment) -> None:
        before, self._agents = self._agents, {}
        for backend in spec.backends:
            check = backend.agent_check
            for server in backend.servers:
                identity = (backend.name, server.address)
                index = assignment.servers[identity]
                old = before.pop(identity, None)
                if check is not None and server.resolved:
                    if old is not None and old.index == index and old.check == check:
                        old.backend, old.server = backend, server
                        self._agents[identity] = old
                        continue
                    agent = Agent(self, backend, server, check, index)
                    agent.down = old is not None and old.index == index and old.down
                    self._agents[identity] = agent
                if old is not None:
                    old.cancel()
                    if check is None and old.index == index:
                        old.backend, old.server = backend, server
                        old.undo()
                        checked = self._checked.get(identity)
                        if old.down and server.resolved and (checked is None or checked.status.up):
                            self.set_up(backend, server, index, True)
        for gone in before.values():
            gone.cancel()

    def set_up(self, backend: Backend, server: Server, index: int, up: bool) -> None:
        """Writes the flag; an agent that says down keeps it off."""
        if not up:
            self.ramps.stop(index)
            self.region.change_state(index, clear=UP)
            return
        agent = self._agents.get((backend.name, server.address))
        if agent is not None and agent.down:
            return
        # The ramp first: a worker that sees the server up must not see it at full weight.
        self.ramps.start(index, backend.slow_start)
        self.region.change_state(index, set=UP)

    def advised(self, one: Agent, up: bool, reason: str) -> None:
        """An agent says that its server is up or down."""
        checked = self._checked.get((one.backend.name, one.server.address))
        if up and checked is not None and not checked.status.up:
            return
        self.set_up(one.backend, one.server, one.index, up)
        name = f"{one.backend.name}/{one.server.name}"
        log.log(logging.INFO if up else logging.WARNING, "server %s is %s: %s", name, "UP" if up else "DOWN", reason)
        self.noted(one.backend, one.server, reason)

    def noted(self, backend: Backend, server: Server, reason: str) -> None:
        """Tells who wants to know of a change that has just been made."""
        if self._on_turn is not None:
            self._on_turn(backend.name, server, reason)

    def agent(self, backend: str, server: Server) -> AgentStatus | None:
        """What the server's agent says; None when it has none."""
        agent = self._agents.get((backend, server.address))
        return agent.status if agent is not None else None

    def status(self, backend: str, server: Server) -> Status | None:
        """What the checks know of the server; None when it has none."""
        checked = self._checked.get((backend, server.address))
        return checked.status if checked is not None else None

    async def close(self) -> None:
        """Ends all checks; states stay as they are."""
        for checked in self._checked.values():
            checked.cancel()
        self._checked.clear()
        for agent in self._agents.values():
            agent.cancel()
        self._agents.clear()

    def checked(self, one: _Checked) -> None:
        """Called after each check."""
        if self._on_check is not None:
            self._on_check(one.backend.name, one.server, one.status)

    def turned(self, one: _Checked, verdict: Verdict) -> None:
        """Called after each transition: tells the operator."""
        what = "passed" if one.status.up else "failed"
        self.noted(one.backend, one.server, f"health check {what}: {verdict}")
        up = sum(c.status.up for c in self._checked.values() if c.backend.name == one.backend.name)
        total = len(one.backend.servers)
        name = f"{one.backend.name}/{one.server.name}"
        if one.status.up:
            log.info("server %s is UP: %s; %d of %d servers up", name, verdict, up, total)
            return
        log.warning("server %s is DOWN: %s; %d of %d servers up", name, verdict, up, total)
        if up == 0:
            log.error("backend %s has no server left", one.backend.name)


def _same(old: _Checked, index: int, backend: Backend, server: Server, check: HealthCheck) -> bool:
    return old.index == index and old.check == check and old.server.resolved[0] == server.resolved[0]
