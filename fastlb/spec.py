"""The frozen, validated description of everything a running fastlb does.

`fastlb.config` turns a file or a mapping into a `Spec`; the supervisor hands it to every worker, and
`fastlb.control.builder` turns it into engine objects.  Nothing here reads files, resolves names or checks
anything: a `Spec` that exists is right.  All durations are seconds (float), all sizes bytes (int).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fastlb.spec_traffic import Access as Access
from fastlb.spec_traffic import Fault as Fault
from fastlb.spec_traffic import Split as Split


class Mode(StrEnum):
    """What a frontend or backend speaks (HAProxy's `mode`)."""

    HTTP = "http"
    TCP = "tcp"
    UDP = "udp"


class ServerState(StrEnum):
    """Administrative state of a server. What is in flight on it always ends in peace."""

    READY = "ready"
    DRAIN = "drain"  # no new requests
    MAINT = "maint"  # likewise; shown as maintenance


@dataclass(frozen=True, slots=True)
class Address:
    """A socket address: `host` and `port`, or `path` for a Unix socket.

    `host` is a literal address or a name; '' as a listener means every address of both families.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def loopback(self) -> bool:
        """Reachable from this machine alone, as far as the text tells."""
        if self.path or self.host in ("localhost", "::1"):
            return True
        return self.host.startswith("127.") and self.host.replace(".", "").isdecimal()

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        if ":" in self.host:
            return f"[{self.host}]:{self.port}"
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate file as it was read."""

    name: str  # of the file
    text: bytes = field(repr=False)  # certificate, chain, private key


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of a listener."""

    cert: tuple[str, ...]  # PEM files, or directories of them; the first certificate is the default
    key: str = ""  # of a single file; '' = inside it
    strict_sni: bool = False  # clients whose server name no certificate covers are turned away
    min_version: str = "1.2"  # 1.2 | 1.3
    ciphers: str = ""  # of TLS 1.2, OpenSSL's list; '' = ECDHE with AES-GCM or ChaCha20
    ciphersuites: tuple[str, ...] = ()  # of TLS 1.3, best first; () = OpenSSL's
    curves: tuple[str, ...] = ()  # of the key exchange, best first; () = OpenSSL's
    alpn: tuple[str, ...] = ("http/1.1",)
    handshake_timeout: float = 10.0  # seconds, and never more than `header`; 0 = `header` is for both together
    handshake_rate: float = 0.0  # begun a second, over all workers; what is over waits; 0 = unlimited
    client_auth: str = "none"  # none | optional | required
    client_ca: str = ""  # file of authorities whose client certificates are good
    client_crl: str = ""  # file of lists of revoked certificates
    client_depth: int = 0  # intermediate certificates at most; 0 = OpenSSL's 100
    # what the files hold, filled in by the supervisor: workers read none
    pems: tuple[Pem, ...] = field(default=(), repr=False, compare=False)
    authorities: bytes = field(default=b"", repr=False, compare=False)
    revoked: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Listen:
    """One listening address of a frontend."""

    address: Address
    tls: Tls | None = None
    proxy_protocol: tuple[str, ...] = ()  # networks whose connections begin with a PROXY header, CIDR or 'unix'


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; 0 turns one off. Names as in HAProxy without the `timeout` word."""

    connect: float = 3.0  # to a server
    header: float = 10.0  # the whole request head, else 408
    client: float = 30.0  # between two reads of a request body, or writes of a response
    server: float = 60.0  # until the response head, and between two reads of its body
    idle: float = 75.0  # kept-alive client connection without a request
    tunnel: float = 3600.0  # no byte either way, after an upgrade and at layer 4
    half_closed: float = 30.0  # likewise, once one side has ended
    queue: float = 5.0  # waiting for a free server
    drain: float = 30.0  # for what is in flight when stopping


@dataclass(frozen=True, slots=True)
class Limits:
    """Size limits of requests; what is over gets the status named."""

    header_bytes: int = 16 * 1024  # whole head, 431
    header_count: int = 100  # 431
    uri: int = 8 * 1024  # 414
    body: int = 0  # 413; 0 = unlimited


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """Changes to a message head, applied in the order remove, set, add (names are compared without case)."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.remove or self.set or self.add)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Which identity fields are written towards servers, and whose incoming ones are believed.

    An incoming field of a name that is on is kept (and appended to) only from a network in `trust`; otherwise
    it is replaced. Names that are off are stripped from untrusted clients as well.
    """

    x_forwarded_for: bool = True
    x_forwarded_proto: bool = True
    x_forwarded_host: bool = False
    x_forwarded_port: bool = False
    forwarded: bool = False  # RFC 7239
    x_request_id: bool = False
    traceparent: bool = False  # W3C Trace Context: a valid one is passed on whoever sends it, else a trace begins
    trust: tuple[str, ...] = ()  # networks, CIDR
    x_forwarded_client_cert: bool = True  # where a listener asks for client certificates; Envoy's form


@dataclass(frozen=True, slots=True)
class PathRewrite:
    """`strip_prefix` first, then `replace` of the leading `replace_prefix`, then `set`, which wins over both."""

    strip_prefix: str = ""
    replace_prefix: tuple[str, str] | None = None  # (old, new)
    set: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with Location. `location` may hold {scheme} {host} {port} {path} {query} {uri}."""

    location: str
    status: int = 302  # 301 302 303 307 308


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer a fixed response."""

    status: int = 200
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests of one key that pass; what is over gets 429. Counted exactly over all workers (GCRA)."""

    rate: float  # a second, above 0
    burst: int = 0  # how many more may come at once
    key: tuple[str, ...] = ("ip",)  # ip | path | host | header:NAME | cookie:NAME | query:NAME; () = all together
    ipv4_prefix: int = 32  # bits of an address that make one client
    ipv6_prefix: int = 64
    exempt: tuple[str, ...] = ()  # networks that are not counted
    dry_run: bool = False  # count and log what would be refused, refuse nothing


@dataclass(frozen=True, slots=True)
class Route:
    """Conditions (all must hold; an empty one always does) and what to do. First match wins."""

    name: str = ""
    host: tuple[str, ...] = ()  # exact 'api.example.com', wildcard '*.example.com'; without case, without port
    path: tuple[str, ...] = ()  # exact '/a', prefix '/a/*' (also matches '/a'), glob '/a/*/c', '/img/*.png'
    methods: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()  # (name, value); '*' = present, 'glob*' allowed
    query: tuple[tuple[str, str], ...] = ()  # (name, value) likewise
    source: tuple[str, ...] = ()  # networks, CIDR, of the client
    sni: tuple[str, ...] = ()  # mode tcp: server names of a ClientHello, exact or '*.example.com'
    alpn: tuple[str, ...] = ()  # mode tcp: protocols, one of which the ClientHello offers
    rate_limits: tuple[RateLimit, ...] = ()  # beside the frontend's
    access: Access | None = None  # beside the frontend's
    faults: tuple[Fault, ...] = ()
    priority: str = "normal"  # high | normal | low: who waits, and who is shed, when there is too much
    # exactly one action
    backend: str = ""  # of a split the one with the largest weight
    split: Split | None = None
    redirect: Redirect | None = None
    respond: Respond | None = None
    # changes
    rewrite: PathRewrite | None = None
    request_headers: HeaderRules = field(default_factory=HeaderRules)
    response_headers: HeaderRules = field(default_factory=HeaderRules)


@dataclass(frozen=True, slots=True)
class Hsts:
    """Strict-Transport-Security of the answers over TLS (RFC 6797)."""

    max_age: float = 31536000.0  # seconds
    include_subdomains: bool = False
    preload: bool = False

    def __str__(self) -> str:
        subdomains = "; includeSubDomains" if self.include_subdomains else ""
        return f"max-age={self.max_age:.0f}{subdomains}{'; preload' if self.preload else ''}"


@dataclass(frozen=True, slots=True)
class Udp:
    """Of a frontend of mode udp: what makes a flow, and what ends it (nginx: proxy_requests, proxy_responses)."""

    flow: str = "tuple"  # tuple | source | packet
    idle: float = 60.0  # seconds without a datagram, 0 = never
    requests: int = 0  # datagrams of the client; 0 = unlimited
    responses: int = -1  # that answer each one of the client; -1 = unknown
    max_flows: int = 65536  # of a worker
    overflow: str = "evict"  # evict | refuse
    amplification: int = 0  # bytes to the client for each of its own; 0 = unlimited


@dataclass(frozen=True, slots=True)
class Frontend:
    """What listens, and where its requests go."""

    name: str
    listen: tuple[Listen, ...]
    mode: Mode = Mode.HTTP
    backend: str = ""  # where no route matches; '' = 404
    routes: tuple[Route, ...] = ()
    redirect_https: bool = False
    hsts: Hsts | None = None
    rate_limits: tuple[RateLimit, ...] = ()
    access: Access | None = None
    faults: tuple[Fault, ...] = ()
    abort_on_close: bool = True  # HAProxy's option abortonclose: a client that closes its side is gone
    max_connections: int = 0  # a process; 0 = unlimited
    explain: tuple[str, ...] = ()  # networks whose clients get X-Fastlb-Explain, CIDR
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    udp: Udp = field(default_factory=Udp)
    forwarded: Forwarded = field(default_factory=Forwarded)
    request_headers: HeaderRules = field(default_factory=HeaderRules)
    response_headers: HeaderRules = field(default_factory=HeaderRules)


@dataclass(frozen=True, slots=True)
class Balance:
    """Algorithm and its options, names of ARCHITECTURE section 8 (see `fastlb.balance.algorithms()`)."""

    algorithm: str = "two_choices"
    key: str = ""  # ip | path | uri | header:NAME | cookie:NAME | query:NAME; '' = none
    method: str = ""  # consistent_hash: ring | maglev | rendezvous | jump
    bound: float = 0.0  # bounded load factor, > 1; 0 = off
    panic_threshold: float = 0.5  # share of usable servers below which all are used; 0 = off


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS towards the servers of a backend."""

    verify: bool = True  # the certificate must be valid and for the server's name
    ca: str = ""  # file of authorities; '' = the system's
    server_name: str = ""  # SNI, and what the certificate is for; '' = the server's address
    cert: str = ""  # PEM file of a client certificate
    key: str = ""  # of it; '' = inside the same file
    min_version: str = "1.2"  # 1.2 | 1.3
    # what the files hold, filled in by the supervisor
    pem: Pem | None = field(default=None, repr=False, compare=False)
    authorities: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class CheckTls:
    """TLS of a health check towards the server."""

    verify: bool = True
    ca: str = ""  # file of authorities; '' = the system's
    server_name: str = ""  # SNI, and what the certificate is for; '' = the check's host, or the server's address


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Active check, run by the supervisor once for all workers."""

    type: str = "http"  # http | tcp | udp | exec | python:MODULE:FUNCTION
    path: str = "/"
    method: str = "GET"
    host: str = ""
    expect: tuple[tuple[int, int], ...] = ((200, 399),)  # ranges of good statuses
    port: int = 0  # 0 = the server's
    interval: float = 2.0
    timeout: float = 2.0
    rise: int = 2
    fall: int = 3
    headers: tuple[tuple[str, str], ...] = ()  # http: sent; replace the check's own of the same name
    body: str = ""  # http: text that the body must hold
    body_regex: str = ""  # http: pattern found in the body
    tls: CheckTls | None = None  # http, tcp; None = the backend's
    send: str = ""  # tcp, udp; "hex:…" for udp
    receive: str = ""  # tcp, udp: text that the answer must hold
    command: tuple[str, ...] = ()  # exec
    address: str = ""  # literal; '' = the server's
    down_interval: float = 0.0  # while it is down; 0 = interval
    jitter: float = 0.1  # of the interval, both ways
    initial: str = "up"  # up | down, until the first check
    send_proxy: bool | None = None  # None: where the server gets PROXY headers and is asked on its own address


@dataclass(frozen=True, slots=True)
class AgentCheck:
    """A program on each server that says how it is (HAProxy's agent-check)."""

    port: int
    address: str = ""  # literal; '' = the server's
    send: str = ""  # text to send it first
    interval: float = 2.0
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Outlier:
    """Passive check: servers that answer much worse than they should, or than the others, are left out for a while.

    All limits over all workers, judged by the supervisor every second (what compares with peers: every `interval`).
    """

    consecutive_failures: int = 5  # failed uses in a row; 0 = off
    interval: float = 10.0
    success_rate: bool = True  # against the peers: below mean - 1.9 * standard deviation
    latency: float = 3.0  # p95 of the time to the response head, times the median of the peers'; 0 = off
    latency_floor: float = 0.1  # a p95 below this is never too long
    min_requests: int = 100  # of one server in an interval, to be compared
    min_servers: int = 5  # so many must be comparable by success rate; by latency 3
    base: float = 10.0  # the first ejection; each further one doubles
    max: float = 300.0
    max_ejected: float = 0.5  # share of the backend's servers that may be out, ejected or down; one always stays
    slow_start: float = 10.0  # ramp after an ejection, where the backend has none; 0 = none
    check_readmits: bool = True  # good health checks end the first ejection early


@dataclass(frozen=True, slots=True)
class AdaptiveConcurrency:
    """A limit of requests of a backend at a time that follows its response times."""

    initial: int = 100
    min: int = 20
    max: int = 1000


@dataclass(frozen=True, slots=True)
class Overload:
    """What becomes of requests that a circuit breaker or a limit turns away: exactly one of the two."""

    respond: Respond | None = None
    backend: str = ""


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Who fails too much gets nothing for a while, then a few requests to show that it is well again.

    Counted and decided over all workers. A request fails when its server does not answer properly, or 500 and above.
    """

    scope: tuple[str, ...] = ("server",)  # server | backend: of which there is a breaker
    errors: float = 0.5  # share of failed requests that opens it; 0 = not judged
    slow: float = 0.0  # share of slow ones; 0 = not judged
    slow_after: float = 1.0  # seconds to the response head that are slow
    min_requests: int = 20  # in the window, to be judged
    window: float = 10.0  # seconds, rolling in tenths
    open: float = 5.0  # seconds that nothing passes
    trials: int = 5  # requests that pass then, exactly, and decide
    trial_time: float = 10.0  # seconds they may take; what has not ended by then counts as failed
    concurrency: int = 0  # requests of the backend at once, waiting ones included; more are refused; 0 = unlimited


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

    size: int = 128
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
class Affinity:
    """Which server a client's further requests go to."""

    type: str = "cookie"  # cookie: given by the balancer | learn: an application's | table: any key of the request
    name: str = "FASTLB"  # of the cookie
    on_unavailable: str = "rebalance"  # the client's server is down or full: rebalance | fail
    # cookie
    secrets: tuple[str, ...] = field(default=(), repr=False)  # themselves, env:NAME or file:PATH; the first one signs
    path: str = "/"
    domain: str = ""
    secure: str = "auto"  # auto: where the client came by TLS | always | never
    http_only: bool = True
    same_site: str = "Lax"  # Lax | Strict | None
    private: bool = True  # an answer with the cookie gets Cache-Control: private
    max_age: float = 0.0  # Max-Age of the cookie, seconds; 0 = until the browser ends
    max_idle: float = 0.0  # between two requests, after which it no longer counts; 0 = off
    max_life: float = 0.0  # since it was first given, likewise
    # learn, table
    key: str = "ip"  # ip | path | uri | header:NAME | cookie:NAME | query:NAME
    ipv4_prefix: int = 32
    ipv6_prefix: int = 64
    size: int = 100_000  # entries, over all workers; what was unused for longest leaves
    expire: float = 1800.0  # seconds without a request; 0 = never

    @property
    def buckets(self) -> int:
        """Buckets of eight entries that its table takes, a quarter more than `size` needs; 0 = no table."""
        return 0 if self.type == "cookie" else 1 << max(0, (self.size * 10 - 1) // 64).bit_length()


@dataclass(frozen=True, slots=True)
class Backend:
    """A named group of servers."""

    name: str
    servers: tuple[Server, ...]
    mode: Mode = Mode.HTTP
    balance: Balance = field(default_factory=Balance)
    health_check: HealthCheck | None = None
    agent_check: AgentCheck | None = None
    tls: ServerTls | None = None  # None = plain
    max_connections: int = 0  # a server, over all workers; the rest wait in the queue; 0 = unlimited
    max_queue: int = 0  # waiting requests, over all workers; 0 = unlimited
    adaptive_concurrency: AdaptiveConcurrency | None = None
    overload: Overload | None = None  # None: 503
    retries: int = 2  # 0-3, on different servers
    retry: Retry = field(default_factory=Retry)
    slow_start: float = 0.0  # seconds of ramp after a server came back
    affinity: Affinity | None = None
    proxy_tlvs: tuple[str, ...] = ()  # of PROXY v2: unique_id | authority | alpn | ssl | crc32c
    outlier: Outlier | None = field(default_factory=Outlier)
    circuit_breaker: CircuitBreaker | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    pool: Pool = field(default_factory=Pool)
    request_headers: HeaderRules = field(default_factory=HeaderRules)
    response_headers: HeaderRules = field(default_factory=HeaderRules)


@dataclass(frozen=True, slots=True)
class Log:
    """Access and error log targets."""

    access: str = "stdout"  # stdout | stderr | a file | syslog:udp://host:514 | syslog:unix:/dev/log | off
    format: str = "json"  # json | httplog | combined
    level: str = "info"  # debug | info | warning | error; of the error log, written to stderr


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Of all TLS listeners."""

    ticket_rotation: float = 28800.0  # seconds until session tickets get a new key; 0 = never


@dataclass(frozen=True, slots=True)
class Resolver:
    """How the names of servers are looked up, by the supervisor alone."""

    nameservers: tuple[Address, ...] = ()  # literal; () = the system's resolver, which tells no TTL
    interval: float = 30.0  # seconds between two look-ups where no TTL is known
    timeout: float = 5.0  # of one look-up; a resolver that hangs must not keep the rest from starting
    min_ttl: float = 1.0  # bounds of what name servers say
    max_ttl: float = 3600.0


@dataclass(frozen=True, slots=True)
class Tracing:
    """Of the frontends whose `forwarded.traceparent` is on."""

    sample: float = 1.0  # share of the traces that begin here which are marked as recorded, 0-1


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
    admin: Admin = field(default_factory=Admin)
    source: str = ""  # file it came from, for messages
    changes: tuple[ServerChange, ...] = ()  # of the overlay
