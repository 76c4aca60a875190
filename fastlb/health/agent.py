"""Agents: a program on each server that says how it is, beside or instead of the health checks.

Wire-compatible with HAProxy's agent-check. Not to reach an agent, or not to understand it, changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from fastlb.control.region import DRAIN, MAINT, Region
from fastlb.control.server_state import limit_of
from fastlb.health.agent_words import Advice, read_advice
from fastlb.health.plan import target_of
from fastlb.health.probe import LineProbe
from fastlb.health.verdict import Verdict
from fastlb.spec import AgentCheck, Backend, Server

log = logging.getLogger("fastlb.health")

JITTER = 0.1
MAX_WEIGHT = 65535
MAX_LIMIT = 2**31 - 1
FLAGS = {"ready": 0, "drain": DRAIN, "maint": MAINT}


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """What an agent said last."""

    last: Verdict | None  # of the attempt to reach it; None: not yet
    advice: Advice | None  # of the last line understood
    down: bool  # it says that the server is down


class Owner(Protocol):
    """What an agent's words reach: the monitor."""

    @property
    def region(self) -> Region: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    def random(self) -> float: ...
    def advised(self, one: Agent, up: bool, reason: str) -> None: ...
    def noted(self, backend: Backend, server: Server, reason: str) -> None: ...


class Agent:
    """The agent of one server that has an address."""

    def __init__(self, owner: Owner, backend: Backend, server: Server, check: AgentCheck, index: int) -> None:
        self.backend = backend
        self.server = server
        self.check = check
        self.index = index
        self.down = False
        self._owner = owner
        self._last: Verdict | None = None
        self._advice: Advice | None = None
        self._weight = self._limit = False  # what of the configuration it has overridden
        self._probe: LineProbe | None = None
        self._began = 0.0
        self._timer = owner.loop.call_later(owner.random() * check.interval, self._begin)

    @property
    def status(self) -> AgentStatus:
        return AgentStatus(self._last, self._advice, self.down)

    def cancel(self) -> None:
        """Asks no more; what the agent said stays in force."""
        self._timer.cancel()
        if self._probe is not None:
            self._probe.cancel()

    def undo(self) -> None:
        """Gives weight and limit back to the configuration: there is no agent any more."""
        region = self._owner.region
        if self._weight:
            region.set_weight(self.index, self.server.weight)
        if self._limit:
            region.set_limit(self.index, limit_of(self.backend, self.server))

    def _begin(self) -> None:
        check, loop = self.check, self._owner.loop
        self._began = loop.time()
        target = target_of(self.server, check.address, check.port)
        self._probe = LineProbe(loop, self._heard, target, check.timeout, send=check.send.encode())

    def _heard(self, verdict: Verdict) -> None:
        self._probe = None
        loop = self._owner.loop
        pause = self.check.interval * (1 + JITTER * (2 * self._owner.random() - 1))
        self._timer = loop.call_at(max(self._began + pause, loop.time()), self._begin)
        before, self._last = self._last, verdict
        name = f"{self.backend.name}/{self.server.name}"
        if not verdict.good:
            if before is None or before.good:  # once
                log.info("agent of %s: %s; nothing changes", name, verdict)
            return
        advice = read_advice(verdict.text)
        if advice.unknown:
            if before is None or before.text != verdict.text:
                log.warning("agent of %s says %r, which is not known; nothing changes", name, advice.unknown)
            return
        self._advice = advice
        self._follow(advice)

    def _follow(self, advice: Advice) -> None:
        region, index, server = self._owner.region, self.index, self.server
        why = f" ({advice.reason})" if advice.reason else ""
        weight = advice.weight
        if advice.percent is not None:
            weight = round(server.weight * advice.percent / 100)
            if weight == 0 and advice.percent and server.weight:
                weight = 1  # a small share is not none
        if weight is not None:
            region.set_weight(index, min(weight, MAX_WEIGHT))
            self._weight = True
        if advice.limit is not None:
            region.set_limit(index, min(advice.limit, MAX_LIMIT))
            self._limit = True
        if advice.state is not None:
            flags = FLAGS[advice.state]
            before = region.state(index)
            if region.change_state(index, set=flags, clear=(DRAIN | MAINT) & ~flags) != before:
                self._owner.noted(self.backend, server, f"its agent says {advice.state}{why}")
        if advice.up is not None and advice.up == self.down:
            self.down = not advice.up
            self._owner.advised(self, advice.up, f"its agent says {advice.word}{why}")
