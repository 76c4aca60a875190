"""Listeners, frontends and their routes."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastlb.spec.addresses import Address, Mode
from fastlb.spec.auth import Mirror
from fastlb.spec.requests import Forwarded, HeaderRules, PathRewrite, Redirect, Respond
from fastlb.spec.tcp import ListenTcp
from fastlb.spec.tls import Hsts, Tls
from fastlb.spec.traffic import Access, Bandwidth, Fault, RateLimit, Split


@dataclass(frozen=True, slots=True)
class Listen:
    """One listening address of a frontend."""

    address: Address
    tls: Tls | None = None
    proxy_protocol: tuple[str, ...] = ()  # networks whose connections begin with a PROXY header, CIDR or 'unix'
    tcp: ListenTcp = field(default_factory=ListenTcp)


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
    """Limits of requests, and of how slow clients may be; what breaks one gets the status named."""

    header_bytes: int = 16 * 1024  # whole head, 431
    header_count: int = 100  # 431
    uri: int = 8 * 1024  # 414
    body: int = 0  # 413; 0 = unlimited
    min_request_rate: float = 0.0  # bytes a second that a body must come with, else 408; 0 = none
    min_response_rate: float = 0.0  # that a client must take of an answer, else it is reset
    min_rate_window: float = 10.0  # seconds, over which the two are looked at


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
    bandwidth: tuple[Bandwidth, ...] = ()  # beside the frontend's
    access: Access | None = None  # beside the frontend's
    auth: str = ""  # of Spec.auth; '' = the frontend's, 'none' = nobody is asked
    mirror: Mirror | None = None  # in place of the frontend's
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
    bandwidth: tuple[Bandwidth, ...] = ()
    rate_limit_headers: str = (
        "combined"  # combined: RateLimit, RateLimit-Policy | separate: -Limit, -Remaining, -Reset | none
    )
    access: Access | None = None
    auth: str = ""  # of Spec.auth; '' = nobody is asked
    mirror: Mirror | None = None
    faults: tuple[Fault, ...] = ()
    abort_on_close: bool = True  # HAProxy's option abortonclose: a client that closes its side is gone
    max_connections: int = 0  # over all workers; 0 = unlimited
    explain: tuple[str, ...] = ()  # networks whose clients get X-Fastlb-Explain, CIDR
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    udp: Udp = field(default_factory=Udp)
    forwarded: Forwarded = field(default_factory=Forwarded)
    request_headers: HeaderRules = field(default_factory=HeaderRules)
    response_headers: HeaderRules = field(default_factory=HeaderRules)
