"""What supervisor and workers tell each other. Frozen data, pickled over `fastlb.runtime.channel`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastlb.control.slots import Assignment
from fastlb.spec import Challenges, Spec, Tls

ListenerKey = tuple[int, str, int]  # number, frontend, index in its `listen`


@dataclass(frozen=True, slots=True)
class Sockets:
    """Supervisor: listening sockets for the Start or Apply that follows, as many as one message takes. Descriptors:
    these."""

    listeners: tuple[ListenerKey, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Supervisor: become worker `worker`. Descriptor: the region."""

    worker: int
    spec: Spec
    assignment: Assignment
    max_connections: int
    tickets: tuple[bytes, ...] = ()  # keys of TLS session tickets, the current one first
    challenges: Challenges | None = None  # of ACME servers


@dataclass(frozen=True, slots=True)
class Secrets:
    """Supervisor: certificates of listeners that changed, keys of session tickets, and what ACME servers look for."""

    tickets: tuple[bytes, ...]
    listeners: tuple[tuple[str, int, Tls], ...] = ()  # frontend, index in its `listen`
    challenges: Challenges | None = None  # of ACME servers; None = as before


@dataclass(frozen=True, slots=True)
class Apply:
    """Supervisor: run this configuration from now on. Answered by Applied."""

    spec: Spec
    assignment: Assignment
    listeners: tuple[ListenerKey, ...]  # all of the worker's, in their new places


@dataclass(frozen=True, slots=True)
class Unlisten:
    """Supervisor: serve what the queues of these sockets hold, then let go of them. Answered by Unlistened.

    Their connections close after their next answer, idle ones after `within` seconds at the latest.
    """

    numbers: tuple[int, ...]
    within: float


@dataclass(frozen=True, slots=True)
class Drain:
    """Supervisor: accept no more, finish what is in flight within `timeout` seconds, then leave.

    Idle connections get `patience` seconds for a last request.
    """

    timeout: float
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Stop:
    """Supervisor: leave at once."""


@dataclass(frozen=True, slots=True)
class ReopenLogs:
    """Supervisor: close and open the log files again."""


@dataclass(frozen=True, slots=True)
class EndSessions:
    """What to end, as the `what` of Ask: all that is under way at a server. Told how much that was."""

    backend: str
    address: str  # as the configuration writes it
    down: bool  # that is why; else somebody asked for it


@dataclass(frozen=True, slots=True)
class Ask:
    """Supervisor: a question about the engine, see `EngineHost.answer`. Answered by Told."""

    number: int
    what: str | EndSessions


@dataclass(frozen=True, slots=True)
class Told:
    """Worker: the answer to the question of that number; plain values."""

    number: int
    value: Any


@dataclass(frozen=True, slots=True)
class LogLines:
    """Worker: whole lines of its access log, while it is watched; `lost` more had no room."""

    lines: bytes
    lost: int


@dataclass(frozen=True, slots=True)
class SpanRecords:
    """Worker: finished requests of recorded traces, as fastlb.engine.span_buffer has them; `lost` more had no room."""

    records: bytes
    count: int
    lost: int


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker: accepts connections, runs configuration `generation`."""

    generation: int


@dataclass(frozen=True, slots=True)
class Applied:
    """Worker: runs configuration `generation`, or kept the one before because of `error`."""

    generation: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Unlistened:
    """Worker: does not accept on these sockets any more."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker: cannot start, and leaves."""

    reason: str


Message = (
    Sockets
    | Start
    | Apply
    | Unlisten
    | Drain
    | Stop
    | ReopenLogs
    | Secrets
    | Ask
    | Told
    | LogLines
    | SpanRecords
    | Ready
    | Applied
    | Unlistened
    | Failed
)
