"""Tables of where requests go: backends, their servers, balancing, health checks, pools."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from fastlb import spec

from . import units
from .models_affinity import Affinity
from .models_bandwidth import Bandwidths
from .models_discover import DiscoverTables
from .models_frontends import Mode
from .models_global import TimeoutsTable
from .models_resilience import AdaptiveConcurrency, CircuitBreaker, OverloadTable, switch
from .models_rules import HeaderRulesTable
from .models_tcp import ServerTcpTable
from .models_tls import ServerTls
from .suggest import ALGORITHM_ALIASES
from .types import (
    MAX_TIER,
    MAX_WEIGHT,
    CheckHost,
    CheckPath,
    CheckType,
    Command,
    Count,
    Duration,
    HashKey,
    HeaderName,
    HeaderValue,
    Hedge,
    IpLiteral,
    Method,
    Name,
    Regex,
    RetryConditions,
    ServerAddress,
    Share,
    Size,
    StatusRanges,
    Table,
    choice,
    many,
    option,
    shorthand,
    word,
)

ALGORITHMS = (
    "round_robin",
    "weighted_round_robin",
    "least_connections",
    "two_choices",
    "least_time",
    "random",
    "ip_hash",
    "consistent_hash",
    "first",
)
HASH_METHODS = ("maglev", "ring", "rendezvous", "jump")

_BALANCE = spec.Balance()
_CHECK = spec.HealthCheck()
_CHECK_TLS = spec.CheckTls()
_AGENT = spec.AgentCheck(0)
_POOL = spec.Pool()
_OUTLIER = spec.Outlier()
_RETRY = spec.Retry()

Algorithm = Annotated[str, *choice(*ALGORITHMS, aliases=ALGORITHM_ALIASES)]
algorithm = word(*ALGORITHMS, aliases=ALGORITHM_ALIASES)


class BalanceTable(Table):
    """Which server gets the next request."""

    algorithm: Algorithm = option(_BALANCE.algorithm, "Name of the algorithm.")
    key: HashKey = option("", "consistent_hash: what is hashed: ip, path, uri, header:NAME, cookie:NAME or query:NAME.")
    method: Annotated[str, *choice(*HASH_METHODS, aliases={"ketama": "ring", "hrw": "rendezvous"})] = option(
        "", "consistent_hash: the table; maglev if none is named.", shown="maglev"
    )
    bound: Annotated[float, Field(gt=1, le=100)] | None = option(
        None, "consistent_hash: no server gets more than this many times the average of requests in flight."
    )
    panic_threshold: Share = option(
        _BALANCE.panic_threshold, "Share of usable servers below which all are used. 0 = never.", shown="50%"
    )
    overprovisioning: float = option(
        _BALANCE.overprovisioning,
        "A tier carries everything while its share of healthy servers times this is above 1.",
        ge=1,
        le=10,
    )


Balance = Annotated[
    BalanceTable, BeforeValidator(shorthand("algorithm"), json_schema_input_type=Algorithm | BalanceTable)
]


class CheckTlsTable(Table):
    """TLS of a check."""

    verify: bool = option(_CHECK_TLS.verify, "The certificate must be valid and for the server's name.")
    ca: str = option("", "File of authorities (PEM); empty = those of the system.")
    server_name: CheckHost = option("", "Name to ask for and to expect; empty = host, or the server's address.")


CheckTls = Annotated[CheckTlsTable | None, BeforeValidator(switch, json_schema_input_type=bool | CheckTlsTable)]


class HealthCheckTable(Table):
    """Servers are asked at intervals whether they work."""

    type: CheckType = option(
        _CHECK.type,
        "http: a request; tcp: a connection; udp: a datagram; exec: a command; "
        "python:MODULE:FUNCTION: a coroutine function.",
    )
    path: CheckPath = option(_CHECK.path, "http: what is requested.")
    method: Method = option(_CHECK.method, "http: the method.")
    host: CheckHost = option("", "http: the Host header; '' = the server's address.")
    expect: StatusRanges = option(
        lambda: list(_CHECK.expect), 'http: good statuses: 200, "200-399" or a list of these.', shown="200-399"
    )
    port: int = option(_CHECK.port, "Port to ask; 0 = the server's own.", ge=0, le=65535)
    interval: Duration = option(_CHECK.interval, "Between two checks.", shown=units.format_duration(_CHECK.interval))
    timeout: Duration = option(_CHECK.timeout, "For the whole answer.", shown=units.format_duration(_CHECK.timeout))
    rise: int = option(_CHECK.rise, "Good answers in a row until the server counts as up.", ge=1, le=1000)
    fall: int = option(_CHECK.fall, "Bad answers in a row until it counts as down.", ge=1, le=1000)
    headers: dict[HeaderName, HeaderValue] = option(
        dict, "http: header fields to send, in place of those of the check."
    )
    body: str = option("", "http: text that the body of the answer must hold.")
    body_regex: Regex = option("", "http: regular expression that must be found in the body of the answer.")
    tls: CheckTls = option(
        None, "http, tcp: speak TLS to the server; true, or a table. Otherwise as the backend does.", shown=False
    )
    send: str = option("", "tcp, udp: text to send; udp: also hex:, and bytes in hexadecimal.")
    receive: str = option(
        "", "tcp, udp: text that the answer must hold; udp: also hex:. Without it silence is good, an error is not."
    )
    command: Command = option(list, "exec: program and arguments; exit status 0 is good.")
    address: IpLiteral = option("", "Address to ask; empty = the server's own.")
    down_interval: Duration = option(
        _CHECK.down_interval, "Between two checks while it is down; 0 = interval.", shown="0"
    )
    jitter: Share = option(_CHECK.jitter, "Each interval is longer or shorter by up to this share.", shown="10%")
    initial: Annotated[str, *choice("up", "down")] = option(
        _CHECK.initial, "What the server counts as until its first check."
    )
    send_proxy: bool | None = option(
        None, "Begin with a PROXY header, as its connections do; none = unless another address or port is asked."
    )


class AgentCheckTable(Table):
    """Servers say themselves how they are, by HAProxy's agent-check protocol."""

    port: int = option(..., "Port of the agent.", ge=1, le=65535)
    address: IpLiteral = option("", "Address of the agent; empty = the server's own.")
    send: str = option("", "Text to send to it first.")
    interval: Duration = option(_AGENT.interval, "Between two questions.", shown=units.format_duration(_AGENT.interval))
    timeout: Duration = option(_AGENT.timeout, "For the whole answer.", shown=units.format_duration(_AGENT.timeout))


class OutlierTable(Table):
    """Servers that answer much worse than they should, or than the others, are left out for a while."""

    consecutive_failures: Count = option(
        _OUTLIER.consecutive_failures,
        "Failures in a row (no connection, no proper answer, 502, 503, 504) that take a server out. 0 = never.",
    )
    interval: Duration = option(
        _OUTLIER.interval, "Between two comparisons with the others.", shown=units.format_duration(_OUTLIER.interval)
    )
    success_rate: bool = option(
        _OUTLIER.success_rate, "Take out who fails far more often than the others (mean - 1.9 standard deviations)."
    )
    latency: Annotated[float, Field(ge=0, le=1000)] = option(
        _OUTLIER.latency, "Take out who takes this many times as long as the others (95th percentile). 0 = nobody."
    )
    latency_floor: Duration = option(
        _OUTLIER.latency_floor, "Shorter is never too long.", shown=units.format_duration(_OUTLIER.latency_floor)
    )
    min_requests: int = option(
        _OUTLIER.min_requests, "Requests of a server in an interval for it to be compared.", ge=1, le=2**31 - 1
    )
    min_servers: int = option(
        _OUTLIER.min_servers, "Servers that can be compared by success rate, at least.", ge=3, le=65535
    )
    base: Duration = option(
        _OUTLIER.base, "First time out; each further one is twice as long.", shown=units.format_duration(_OUTLIER.base)
    )
    max: Duration = option(_OUTLIER.max, "Longest time out.", shown=units.format_duration(_OUTLIER.max))
    max_ejected: Share = option(
        _OUTLIER.max_ejected, "Share of the servers that may be out for their health; one always stays.", shown="50%"
    )
    slow_start: Duration = option(
        _OUTLIER.slow_start,
        "A server that is back gets its full share after this long; slow_start of the backend wins.",
        shown=units.format_duration(_OUTLIER.slow_start),
    )
    check_readmits: bool = option(_OUTLIER.check_readmits, "Good health checks end the first time out early.")


Outlier = Annotated[OutlierTable | None, BeforeValidator(switch, json_schema_input_type=bool | OutlierTable)]


State = Annotated[
    str, *choice("ready", "drain", "maint", aliases={"disabled": "maint", "down": "maint", "maintenance": "maint"})
]


BACKUP_TIER = "a backup stands in no tier: backups come after all of them; leave out tier, or backup"


class ServerTable(Table):
    """One member of a backend."""

    address: ServerAddress = option(..., "host:port, [v6]:port or unix:/path.")
    name: Name = option("", "For logs and statistics; '' = the address.")
    weight: int = option(1, "Share of the requests; 0 = none.", ge=0, le=MAX_WEIGHT)
    backup: bool = option(False, "Used only while no other server is up.")
    tier: int = option(0, "Load spills from tier 0 to 1 and so on, as servers of it are lost.", ge=0, le=MAX_TIER)
    max_connections: Count = option(0, "Requests at a time, over all workers. 0 = the backend's.")
    state: State = option("ready", "drain and maint: no new requests; what is in flight ends as it began.")
    send_proxy: Annotated[str, *choice("", "v1", "v2", "off")] = option("", "Instead of the backend's; off = none.")


Servers = Annotated[
    list[ServerTable],
    BeforeValidator(
        many("address"), json_schema_input_type=ServerAddress | ServerTable | list[ServerAddress | ServerTable]
    ),
]


class RetryTable(Table):
    """After what a request is tried again, and how many may be at a time."""

    on: RetryConditions = option(
        lambda: list(_RETRY.on),
        'connect, closed (before any answer), timeout, malformed; and statuses such as 503 or "502-504".',
        shown=list(_RETRY.on),
    )
    budget: Share = option(
        _RETRY.budget,
        "Requests tried again at a time, of all in flight to the backend; more get the failure.",
        shown="20%",
    )
    budget_min: Count = option(_RETRY.budget_min, "So many may be at any time.")
    try_timeout: Duration = option(
        _RETRY.try_timeout, "Until the head of the answer of one attempt; implies `timeout`. 0 = timeouts.server.",
        shown="0",
    )  # fmt: skip
    backoff: Duration = option(
        _RETRY.backoff,
        "Up to so long is waited before another attempt, doubled each time. 0 = not at all.",
        shown="0",
    )
    backoff_max: Duration = option(
        _RETRY.backoff_max, "No longer than this, even if the answer asks for it by Retry-After.",
        shown=units.format_duration(_RETRY.backoff_max),
    )  # fmt: skip
    buffer: Size = option(_RETRY.buffer, "A request up to this size, head and body, can be sent again.", shown="64KB")
    hedge: Hedge = option(
        (0.0, 0.0),
        "A second copy goes to another server after this time, or percentile (p95). 0 = never.",
        shown="0",
    )


class PoolTable(Table):
    """Idle connections to servers that are kept for the next request."""

    size: Count = option(
        _POOL.size, "Of one server in one worker; less while descriptors are short. 0 = none are kept."
    )
    idle: Duration = option(_POOL.idle, "Closed after this long unused.", shown=units.format_duration(_POOL.idle))
    max_age: Duration = option(_POOL.max_age, "Closed this long after connecting. 0 = never.", shown="0")
    max_requests: Count = option(_POOL.max_requests, "Closed after this many requests. 0 = never.")


class BackendTable(Table):
    """A named group of servers."""

    # One of them is needed; see FrontendTable
    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["servers"]}, {"required": ["discover"]}]})

    servers: Servers = option(list, "Addresses, or tables with an address.")
    discover: DiscoverTables = option(list, "Names that stand for several servers: name:port, or tables.")
    mode: Mode = option("http", "What is spoken: http, tcp or udp.")
    balance: Balance = option(BalanceTable, "Name of the algorithm, or a table with its options.")
    health_check: HealthCheckTable | None = option(None, "How servers are checked; none = they always count as up.")
    agent_check: AgentCheckTable | None = option(None, "How servers are asked how they are; none = they are not.")
    outlier: Outlier = option(OutlierTable, "Who is left out for failing requests; false = nobody.", shown=True)
    circuit_breaker: CircuitBreaker = option(
        None, "Who fails too much gets nothing for a while; true, or a table.", shown=False
    )
    shutdown_sessions: bool = option(
        False, "End what is under way at a server that goes down, is ejected or set to maintenance."
    )
    tls: ServerTls = option(None, "Speak TLS to the servers; true, or a table.", shown=False)
    tcp: ServerTcpTable = option(ServerTcpTable, "Options of the sockets.")
    max_connections: Count = option(0, "Requests at a time of one server; the rest wait. 0 = unlimited.")
    max_queue: Count = option(0, "Requests that may wait, over all workers. 0 = unlimited.")
    bandwidth: Bandwidths = option(list, "How fast bytes go to its servers and from them, beside what frontends say.")
    adaptive_concurrency: AdaptiveConcurrency = option(
        None, "A limit of requests at a time that follows the response times; true, or a table.", shown=False
    )
    overload: OverloadTable | None = option(None, "What requests get that are turned away; none = 503.")
    retries: int = option(2, "Further servers to try when nothing of the request was lost.", ge=0, le=3)
    retry: RetryTable = option(RetryTable, "After what, and how many at a time.")
    slow_start: Duration = option(
        0.0, "A server that came back or joined gets its full share after this long.", shown="0"
    )
    affinity: Affinity | None = option(None, "How clients are kept at their servers: the type, or a table.")
    send_proxy: Annotated[str, *choice("", "v1", "v2", "off", aliases={"1": "v1", "2": "v2"})] = option(
        "", "Connections to servers begin with a PROXY header of this version."
    )
    proxy_tlvs: list[Annotated[str, *choice("unique_id", "authority", "alpn", "ssl", "crc32c")]] = option(
        list, "What a header of v2 holds beside the addresses."
    )
    timeouts: TimeoutsTable = option(TimeoutsTable, "Instead of the general ones, key by key.")
    pool: PoolTable = option(PoolTable, "Idle connections kept for the next request.")
    request_headers: HeaderRulesTable = option(HeaderRulesTable, "Changes of every request's head.")
    response_headers: HeaderRulesTable = option(HeaderRulesTable, "Changes of every response's head.")
