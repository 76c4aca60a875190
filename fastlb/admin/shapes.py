"""What the API answers, as types: the source of its OpenAPI description. Times are UTC, durations seconds."""

from __future__ import annotations

from datetime import datetime
from typing import (
    Annotated,
    Literal,
    NotRequired,  # pydantic wants this one before Python 3.12
)

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

State = Literal["UP", "DOWN", "EJECTED", "DRAIN", "MAINT"]


class Rates(TypedDict):
    """A second; the maxima are those of whole seconds since the start."""

    requests: float
    requests_max: float
    connections: float
    connections_max: float


class Quantiles(TypedDict):
    """Seconds from the first byte of a request to the last of its response; 0 where there was none."""

    requests: int
    p50: float
    p90: float
    p99: float


class Means(TypedDict):
    """Mean seconds of the last 1024 requests."""

    queue: float
    connect: float
    response: float
    total: float


class Latency(TypedDict):
    recent: Annotated[Quantiles | None, Field(description="Of the last 30 to 60 seconds; null where not sampled.")]
    overall: Annotated[Quantiles, Field(description="Since the start.")]
    means: Means | None


class History(TypedDict):
    """A value a second, oldest first, at most 120."""

    requests: list[float]
    p99: list[float]


class Common(TypedDict):
    name: str
    responses: Annotated[dict[str, int], Field(description="By class: 1xx to 5xx, other.")]
    counters: Annotated[dict[str, int], Field(description="Over all workers, since the start.")]
    rates: Annotated[Rates | None, Field(description="null for a server that is not sampled.")]
    latency: Latency
    history: NotRequired[History]


class FrontendView(Common):
    mode: str
    listen: list[str]
    backend: Annotated[str, Field(description="Where requests go that match no route; empty: 404.")]
    connections: Annotated[int, Field(description="Client connections open now.")]
    max_connections: Annotated[int, Field(description="Over all workers; 0 = unlimited.")]
    in_flight: Annotated[int, Field(description="Requests now.")]


class CheckView(TypedDict):
    """What the health checks know."""

    type: str
    status: Annotated[
        str, Field(description="HAProxy's word for the last result: L7OK, L4CON …; INI before the first.")
    ]
    code: Annotated[int, Field(description="HTTP status of the last check; 0 = none.")]
    duration: float
    text: str
    streak: Annotated[int, Field(description="Results in a row against the state.")]
    needed: Annotated[int, Field(description="Results in a row that turn it.")]
    rise: int
    fall: int
    failed: Annotated[int, Field(description="Failed checks so far.")]
    last_failure: str
    last_failure_at: datetime | None


class AgentView(TypedDict):
    """What the server's agent says."""

    status: Annotated[str, Field(description="HAProxy's word for the last attempt to ask it; INI before the first.")]
    duration: float
    line: Annotated[str, Field(description="What it said last.")]
    down: Annotated[bool, Field(description="It says that the server is down.")]


class ServerView(Common):
    backend: str
    address: str
    source: Annotated[str, Field(description="The name that it was discovered by; empty: the configuration lists it.")]
    state: State
    status: Annotated[str, Field(description="The same in HAProxy's words: 'UP 2/3', 'no check'.")]
    reason: Annotated[str, Field(description="Of the last change of state.")]
    since: datetime
    backup: bool
    tier: Annotated[int, Field(description="Of the servers that are no backups, 0 first.")]
    weight: int
    effective_weight: Annotated[int, Field(description="With slow start.")]
    max_connections: Annotated[int, Field(description="Requests at once; 0 = unlimited.")]
    in_flight: int
    idle_connections: int
    downs: Annotated[int, Field(description="Times it went down.")]
    downtime: float
    check: CheckView | None
    agent: AgentView | None


class DiscoverView(TypedDict):
    """A name that stands for several servers."""

    source: str
    servers: Annotated[int, Field(description="That it stands for and that are used.")]
    leaving: Annotated[int, Field(description="That it no longer stands for; what is in flight on them ends.")]
    found: Annotated[int, Field(description="In the last good answer, beyond max_servers too.")]
    max_servers: int
    ttl: Annotated[float | None, Field(description="Of the last good answer; null where nobody tells.")]
    found_at: datetime | None
    lookups: Annotated[int, Field(description="That found servers.")]
    failed_lookups: int
    problem: Annotated[str, Field(description="Why the last look-up failed; empty: it did not.")]


class BackendView(Common):
    mode: str
    state: Literal["UP", "DOWN"]
    reason: str
    since: datetime
    algorithm: str
    panic: Annotated[bool, Field(description="So few servers are up that all are used.")]
    tiers: Annotated[dict[str, int], Field(description="Percent of the requests by tier in use.")]
    servers: dict[State, int]
    discover: list[DiscoverView]
    in_flight: int
    queued: int
    downs: int
    downtime: float


class FrontendList(TypedDict):
    frontends: list[FrontendView]


class BackendList(TypedDict):
    backends: list[BackendView]


class ServerList(TypedDict):
    total: Annotated[int, Field(description="Servers that fit the query, shown or not.")]
    servers: list[ServerView]


class WorkerView(TypedDict):
    worker: int
    pid: Annotated[int, Field(description="0 = no process now.")]
    state: Literal["gone", "starting", "ready", "draining", "resting"]
    starts: Annotated[int, Field(description="Processes started in this slot.")]
    since: datetime | None
    beats: int
    beat_age: float
    connections: int
    generation: int
    cpu_seconds: float
    resident_bytes: int


class WorkerList(TypedDict):
    workers: list[WorkerView]


class ProcessView(TypedDict):
    connections: int
    connections_total: int
    requests_total: int
    bytes_in: int
    bytes_out: int
    connections_per_second: float
    requests_per_second: float


class InfoView(TypedDict):
    version: str
    phase: Literal["starting", "ready", "draining"]
    ready: bool
    pid: int
    started_at: datetime
    uptime: float
    config: Annotated[str, Field(description="The file; empty: options of the command line.")]
    generation: Annotated[int, Field(description="Number of the configuration, from 1.")]
    reloads: int
    open_file_limit: Annotated[int, Field(description="Of each process.")]
    open_files: Annotated[int, Field(description="Of the supervisor.")]
    max_connections: Annotated[int, Field(description="Clients that one worker takes at once.")]
    changes: Annotated[Literal["yes", "token", "no"], Field(description="Whether this listener takes changes.")]
    totals: ProcessView
    workers: list[WorkerView]


class EventView(TypedDict):
    seq: int
    at: datetime
    kind: Literal["server", "backend", "worker", "process", "tls"]
    level: Literal["info", "warning", "error"]
    subject: str
    text: str
    old: str
    new: str


class EventList(TypedDict):
    last: Annotated[int, Field(description="Number of the newest event there is.")]
    events: list[EventView]


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    reason: str = Field("", max_length=200, description="For the list of events.")


class StateChange(_Change):
    """ready: may get requests. drain: no new ones, what is in flight ends. maint: the same, shown as maintenance."""

    state: Literal["ready", "drain", "maint"]


class ServerChange(_Change):
    """What is given changes, the rest stays."""

    state: Literal["ready", "drain", "maint"] | None = None
    weight: int | None = Field(None, ge=0, le=65535, description="0 = drained.")
    max_connections: int | None = Field(None, ge=0, le=2**31 - 1, description="Requests at once; 0 = unlimited.")


class ProblemView(TypedDict):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: NotRequired[str]
    errors: NotRequired[list[dict[str, str]]]


class FieldView(TypedDict):
    """A value before and after, as TOML would write it; empty = not there."""

    name: str
    before: str
    after: str


class DifferenceView(TypedDict):
    kind: str
    name: str
    what: Literal["added", "removed", "changed"]
    fields: list[FieldView]
    connections: Annotated[int, Field(description="Open now that it touches; they close when they are done.")]
    requests: Annotated[int, Field(description="In flight now that it touches; they end as they began.")]
    note: str
    text: Annotated[str, Field(description="All of it in one line, for people.")]


class ChangeView(TypedDict):
    """What was changed at run time on a server; null = as the configuration says."""

    backend: str
    name: str
    address: str
    state: Literal["ready", "drain", "maint"] | None
    weight: int | None
    max_connections: int | None
    added: bool
    removed: bool
    reason: str


class AnswerView(TypedDict):
    """What became of an action."""

    verdict: Literal["done", "partly"]
    text: str
    generation: int
    warnings: list[str]
    differences: list[DifferenceView]
    workers: Annotated[list[str], Field(description="A line for each worker that kept the configuration before.")]
    confirm_within: Annotated[float, Field(description="Seconds until it reverts by itself; 0 = it does not.")]
    changes: list[ChangeView]


class ChangeList(TypedDict):
    changes: list[ChangeView]


class Reload(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    confirm: float = Field(
        0.0,
        ge=0,
        le=86400,
        description="Seconds until the configuration before comes back unless confirmed; 0 = never.",
    )


class NewServer(_Change):
    """A server more in a backend."""

    address: str = Field(max_length=300, description="HOST:PORT, [IPV6]:PORT or unix:PATH.")
    name: str = Field("", max_length=64, description="Empty: the address.")
    weight: int = Field(1, ge=0, le=65535)
    backup: bool = False
    tier: int = Field(0, ge=0, le=7, description="Load spills from each to the next.")
    max_connections: int = Field(0, ge=0, le=2**31 - 1)
    state: Literal["ready", "drain", "maint"] = "ready"
