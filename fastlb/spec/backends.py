"""Backends and their servers."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastlb.spec.addresses import Address, Mode, ServerState
from fastlb.spec.frontends import Timeouts
from fastlb.spec.health import AgentCheck, CircuitBreaker, HealthCheck, Outlier
from fastlb.spec.requests import HeaderRules
from fastlb.spec.tcp import ServerTcp
from fastlb.spec.tls import ServerTls
from fastlb.spec.traffic import AdaptiveConcurrency, Affinity, Bandwidth, Overload


@dataclass(frozen=True, slots=True)
class Balance:
    """Algorithm and its options, names of ARCHITECTURE section 8 (see `fastlb.balance.algorithms()`)."""

    algorithm: str = "two_choices"
    key: str = ""  # ip | path | uri | header:NAME | cookie:NAME | query:NAME; '' = none
    method: str = ""  # consistent_hash: ring | maglev | rendezvous | jump
    bound: float = 0.0  # bounded load factor, > 1; 0 = off
    panic_threshold: float = 0.5  # share of usable servers below which all are used; 0 = off
    overprovisioning: float = 1.4  # of tiers: with a healthy share above 1/this one carries everything


@dataclass(frozen=True, slots=True)
class Server:
    """One member of a backend. Identity over reloads: (backend, address)."""

    name: str
    address: Address
    weight: int = 1  # 0-65535; 0 = drained
    backup: bool = False
    max_connections: int = 0  # 0 = the backend's
    # socket addresses found for `address` by the supervisor: (family, sockaddr); the engine uses the first
    resolved: tuple[tuple[int, tuple[str, int] | str], ...] = ()
    state: ServerState = ServerState.READY
    send_proxy: str = ""  # v1 | v2; '' = none
    tier: int = 0  # 0-7, of a server that is no backup: load spills from each to the next
    # of one that was discovered; '' and 0 of those that the configuration lists
    source: str = ""  # what names it: `str` of a `Discover`
    host: str = ""  # the name that its certificate is for, where `address` is none
    slow_start: float = 0.0  # seconds of ramp once it has joined; the backend's wins


@dataclass(frozen=True, slots=True)
class Discover:
    """A name that stands for several servers: one for each of its addresses, or of its SRV records (RFC 2782)."""

    host: str
    port: int = 0  # of every server; 0: SRV records are asked for, which tell it
    family: str = "any"  # any | ipv4 | ipv6: which addresses count
    max_servers: int = 64
    weight: int = 1  # of each server; SRV records tell their own
    backup: bool = False
    tier: int = 0  # of each server; of the SRV records with the lowest priority number, the next ones being of the next
    max_connections: int = 0  # of each server; 0 = the backend's
    send_proxy: str = ""  # v1 | v2; '' = none
    slow_start: float = 10.0  # seconds of ramp of a server that joins; the backend's wins

    @property
    def question(self) -> str:
        """What is looked up: the name, or `srv:` and the name."""
        return self.host if self.port else f"srv:{self.host}"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.question


@dataclass(frozen=True, slots=True)
class ServerChange:
    """What was changed at run time on one server of a backend; None = as the configuration says.

    `added`: the server is not in the configuration, this is the whole of it. `removed`: it is, and is left out.
    """

    backend: str
    address: Address
    name: str  # for people
    state: ServerState | None = None
    weight: int | None = None
    max_connections: int | None = None
    added: Server | None = None
    removed: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """Idle server connections kept, a server and worker."""

    size: int = 4096
    idle: float = 30.0  # seconds unused before closing
    max_age: float = 0.0  # seconds since connecting; 0 = unlimited
    max_requests: int = 0  # 0 = unlimited


@dataclass(frozen=True, slots=True)
class Retry:
    """After what a request is tried again (`Backend.retries` times), and how many may be at a time.

    What a server may have seen is sent again only where the request is idempotent and was kept whole.
    """

    on: tuple[str, ...] = ("connect", "closed")  # connect | closed | timeout | malformed
    statuses: tuple[tuple[int, int], ...] = ()  # of answers, ranges of 400-599
    budget: float = 0.2  # share of the backend's requests in flight, over all workers
    budget_min: int = 3
    try_timeout: float = 0.0  # seconds until the response head, of one attempt; 0 = timeouts.server alone
    backoff: float = 0.0  # seconds, doubled by each further attempt; up to so much is waited before it; 0 = nothing
    backoff_max: float = 1.0  # at most so much, also where Retry-After asks for it
    buffer: int = 65536  # bytes of a request, head and body, that are kept to be sent again
    hedge: float = 0.0  # seconds after which a second copy is sent; 0 = see hedge_percentile
    hedge_percentile: float = 0.0  # of the response times, 0.5-0.999, instead of a fixed time; 0 = no second copies


@dataclass(frozen=True, slots=True)
class Backend:
    """A named group of servers."""

    name: str
    servers: tuple[Server, ...]  # those of the configuration, and in what runs those discovered too
    mode: Mode = Mode.HTTP
    discover: tuple[Discover, ...] = ()
    balance: Balance = field(default_factory=Balance)
    health_check: HealthCheck | None = None
    agent_check: AgentCheck | None = None
    tls: ServerTls | None = None  # None = plain
    tcp: ServerTcp = field(default_factory=ServerTcp)
    max_connections: int = 0  # a server, over all workers; the rest wait in the queue; 0 = unlimited
    max_queue: int = 0  # waiting requests, over all workers; 0 = unlimited
    bandwidth: tuple[Bandwidth, ...] = ()
    adaptive_concurrency: AdaptiveConcurrency | None = None
    overload: Overload | None = None  # None: 503
    retries: int = 2  # 0-3, on different servers
    retry: Retry = field(default_factory=Retry)
    slow_start: float = 0.0  # seconds of ramp after a server came back
    affinity: Affinity | None = None
    proxy_tlvs: tuple[str, ...] = ()  # of PROXY v2: unique_id | authority | alpn | ssl | crc32c
    outlier: Outlier | None = field(default_factory=Outlier)
    circuit_breaker: CircuitBreaker | None = None
    shutdown_sessions: bool = False  # of a server that goes down: what is under way there ends at once
    timeouts: Timeouts = field(default_factory=Timeouts)
    pool: Pool = field(default_factory=Pool)
    request_headers: HeaderRules = field(default_factory=HeaderRules)
    response_headers: HeaderRules = field(default_factory=HeaderRules)
