"""Parts of the supervisor's process that the runtime does not know: the admin interface.

Whoever starts the supervisor hands it a factory; the runtime calls what it makes at the right moments and imports none
of it.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

# What extras need of the health checks, handed on: they import nothing below the runtime but control and spec.
from fastlb.control.sockets import Inherited
from fastlb.health.agent import AgentStatus
from fastlb.health.monitor import Status as CheckStatus
from fastlb.health.verdict import Verdict as CheckVerdict
from fastlb.health.verdict import Word as CheckWord
from fastlb.runtime.actions import Actions
from fastlb.runtime.asking import LogTail
from fastlb.runtime.service import Service
from fastlb.spec import Spec


class Phase(enum.StrEnum):
    """Of the whole program."""

    STARTING = "starting"  # not all workers accept yet
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker slot as the supervisor knows it; what the worker says of itself is in the region."""

    slot: int
    pid: int  # 0 = there is none now
    state: str  # gone | starting | ready | draining | resting
    starts: int  # processes started in this slot so far
    since: float  # time.time() of the last start


class Team(Protocol):
    """The engines, for readers."""

    def members(self) -> Sequence[WorkerInfo]:
        """One a worker slot."""

    async def ask(self, what: str) -> dict[int, Any]:
        """Answers of all workers by slot, see `EngineHost.answer`; None where there was none in time."""

    @property
    def tail(self) -> LogTail:
        """The access log as it is written."""


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True)
class Running:
    """What an extra may see of the program. `phase` changes; the rest stays for the life of the process."""

    service: Service
    team: Team
    pid: int
    actions: Actions
    phase: Phase = Phase.STARTING
    started_at: float = field(default_factory=time.time)
    # Listening sockets from elsewhere that no frontend took. An extra takes what is at its addresses before it binds.
    inherited: list[Inherited] = field(default_factory=list)
    # Not set while the process from which this one takes over answers questions: counters must not seem to go back.
    may_answer: asyncio.Event = field(default_factory=_set_event)


class ExtraPlan(Protocol):
    """What another configuration makes of an extra; one of the two is called, and neither fails."""

    def commit(self) -> None:
        """The configuration runs."""

    def abort(self) -> None:
        """It does not: what was opened for it is closed."""


class Extra(Protocol):
    """Lives from before the workers start until after they are gone."""

    async def open(self) -> None:
        """Called once, before the workers start. Raises ListenError or ConfigError, with nothing left open."""

    async def plan(self, spec: Spec) -> ExtraPlan:
        """Opens what `spec` needs and is not there. Raises ListenError or ConfigError, with nothing left open."""

    async def close(self) -> None:
        """Called once, when the workers are gone. Must not take long."""

    def places(self) -> list[str]:
        """Where it listens, for the line that says the program is ready."""

    def files(self) -> list[str]:
        """Files of its Unix sockets, which must belong to the user that the program becomes."""

    def inheritance(self) -> list[Inherited]:
        """Its listening sockets, for a process that takes over."""

    def forget_files(self) -> None:
        """`close` leaves the files of Unix sockets where they are: they are served by another process now."""


ExtraFactory = Callable[[Running], Extra]


__all__ = [
    "AgentStatus",
    "CheckStatus",
    "CheckVerdict",
    "CheckWord",
    "Extra",
    "ExtraFactory",
    "ExtraPlan",
    "Phase",
    "Running",
    "Team",
    "WorkerInfo",
]
