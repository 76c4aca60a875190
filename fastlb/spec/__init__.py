"""The frozen, validated description of everything a running fastlb does.

`fastlb.config` turns a file or a mapping into a `Spec`; the supervisor hands it to every worker, and
`fastlb.control.builder` turns it into engine objects.  Nothing here reads files, resolves names or checks
anything: a `Spec` that exists is right.  All durations are seconds (float), all sizes bytes (int).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fastlb.spec.addresses import Address as Address
from fastlb.spec.addresses import Mode as Mode
from fastlb.spec.addresses import ServerState as ServerState
from fastlb.spec.auth import Auth as Auth
from fastlb.spec.auth import BasicAuth as BasicAuth
from fastlb.spec.auth import ForwardAuth as ForwardAuth
from fastlb.spec.auth import Jwt as Jwt
from fastlb.spec.auth import Mirror as Mirror
from fastlb.spec.backends import Backend as Backend
from fastlb.spec.backends import Balance as Balance
from fastlb.spec.backends import Discover as Discover
from fastlb.spec.backends import Pool as Pool
from fastlb.spec.backends import Retry as Retry
from fastlb.spec.backends import Server as Server
from fastlb.spec.backends import ServerChange as ServerChange
from fastlb.spec.frontends import Frontend as Frontend
from fastlb.spec.frontends import Limits as Limits
from fastlb.spec.frontends import Listen as Listen
from fastlb.spec.frontends import Route as Route
from fastlb.spec.frontends import Timeouts as Timeouts
from fastlb.spec.frontends import Udp as Udp
from fastlb.spec.health import AgentCheck as AgentCheck
from fastlb.spec.health import CircuitBreaker as CircuitBreaker
from fastlb.spec.health import HealthCheck as HealthCheck
from fastlb.spec.health import Outlier as Outlier
from fastlb.spec.requests import Forwarded as Forwarded
from fastlb.spec.requests import HeaderRules as HeaderRules
from fastlb.spec.requests import PathRewrite as PathRewrite
from fastlb.spec.requests import Redirect as Redirect
from fastlb.spec.requests import Respond as Respond
from fastlb.spec.tcp import Keepalive as Keepalive
from fastlb.spec.tcp import ListenTcp as ListenTcp
from fastlb.spec.tcp import ServerTcp as ServerTcp
from fastlb.spec.tls import Acme as Acme
from fastlb.spec.tls import Challenges as Challenges
from fastlb.spec.tls import CheckTls as CheckTls
from fastlb.spec.tls import Hsts as Hsts
from fastlb.spec.tls import Pem as Pem
from fastlb.spec.tls import ServerTls as ServerTls
from fastlb.spec.tls import Tls as Tls
from fastlb.spec.tls import TlsSettings as TlsSettings
from fastlb.spec.traffic import Access as Access
from fastlb.spec.traffic import AdaptiveConcurrency as AdaptiveConcurrency
from fastlb.spec.traffic import Affinity as Affinity
from fastlb.spec.traffic import Bandwidth as Bandwidth
from fastlb.spec.traffic import Fault as Fault
from fastlb.spec.traffic import Overload as Overload
from fastlb.spec.traffic import RateLimit as RateLimit
from fastlb.spec.traffic import Split as Split


@dataclass(frozen=True, slots=True)
class Log:
    """Access and error log targets."""

    access: str = "stdout"  # stdout | stderr | a file | syslog:udp://host:514 | syslog:unix:/dev/log | off
    format: str = "json"  # json | httplog | httpslog | combined
    level: str = "info"  # debug | info | warning | error; of the error log, written to stderr


@dataclass(frozen=True, slots=True)
class Resolver:
    """How the names of servers are looked up, by the supervisor alone."""

    nameservers: tuple[Address, ...] = ()  # literal; () = the system's resolver, which tells no TTL
    interval: float = 30.0  # seconds between two look-ups where no TTL is known
    timeout: float = 5.0  # of one look-up; a resolver that hangs must not keep the rest from starting
    min_ttl: float = 1.0  # bounds of what name servers say
    max_ttl: float = 3600.0


@dataclass(frozen=True, slots=True)
class OverloadSteps:
    """What workers give up when descriptors, memory or connections run out: shares in use from which on; 0 = never."""

    close: float = 0.85  # answers close their connections
    shed: float = 0.9  # idle connections end early
    refuse: float = 0.95  # nothing is accepted
    reset: float = 0.98  # the connections that hold most memory are reset
    memory: int = 0  # bytes of all workers together; 0 = what the control group allows


@dataclass(frozen=True, slots=True)
class Redis:
    """Where nodes meet that share rates."""

    url: str = field(default="", repr=False)  # redis:// or rediss://, with its password; or env:NAME, or file:PATH
    interval: float = 0.1  # seconds between two exchanges
    timeout: float = 1.0  # of one; then each node limits alone
    prefix: str = "fastlb:rate:"  # of the keys


@dataclass(frozen=True, slots=True)
class Tracing:
    """Of the frontends whose `forwarded.traceparent` is on."""

    sample: float = 1.0  # share of the traces that begin here which are marked as recorded, 0-1
    endpoint: str = ""  # URL that spans are posted to, OTLP over HTTP; '' = none are made
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # the values, or env:NAME, or file:PATH
    service: str = "fastlb"  # service.name of the spans
    timeout: float = 10.0  # seconds for one post, with its repetitions
    queue: int = 10000  # spans that may wait for the collector


@dataclass(frozen=True, slots=True)
class Admin:
    """Admin listener; '' = none."""

    listen: Address | None = None
    socket: str = ""
    token: str = field(default="", repr=False)  # itself, or env:NAME, or file:PATH; '' = changes on `socket` alone
    read_only: bool = False  # no changes on `listen`, whoever asks
    webhook: str = field(default="", repr=False)  # URL that events are posted to; it may hold a secret
    webhook_level: str = "info"  # info | warning | error: the lowest that is posted


@dataclass(frozen=True, slots=True)
class Global:
    """Process-wide settings."""

    workers: int = 1  # processes; 0 = the engine runs inside the supervisor
    max_connections: int = 0  # a worker; 0 = derived from the descriptor limit
    watch: bool = False  # reload when the file changes
    overlay: str = ""  # file of run-time changes, read at the start; '' = none
    pid_file: str = ""
    user: str = ""  # to become once the sockets are bound; '' = stay
    group: str = ""  # '' = the user's


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole configuration."""

    frontends: tuple[Frontend, ...]
    backends: tuple[Backend, ...]
    global_: Global = field(default_factory=Global)
    log: Log = field(default_factory=Log)
    tls: TlsSettings = field(default_factory=TlsSettings)
    tracing: Tracing = field(default_factory=Tracing)
    resolver: Resolver = field(default_factory=Resolver)
    redis: Redis = field(default_factory=Redis)
    overload: OverloadSteps = field(default_factory=OverloadSteps)
    admin: Admin = field(default_factory=Admin)
    auth: tuple[Auth, ...] = ()
    source: str = ""  # file it came from, for messages
    changes: tuple[ServerChange, ...] = ()  # of the overlay
