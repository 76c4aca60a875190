"""Who gets through and where to: access, limits, splits, faults, affinity, overload."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastlb.spec.requests import Respond


@dataclass(frozen=True, slots=True)
class Access:
    """Networks that may send requests. Who is in `deny`, or not in a given `allow`, is refused."""

    allow: tuple[str, ...] = ()  # CIDR; () = everybody
    deny: tuple[str, ...] = ()
    action: str = "forbid"  # forbid: 403 | tarpit: 403 after a while | drop: no answer
    tarpit: float = 10.0  # seconds
    tarpit_max: int = 1000  # held at a time, a worker; what is beyond is dropped


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault made on purpose."""

    percent: float = 1.0  # share of the requests, 0-1
    delay: float = 0.0  # seconds before the request goes on; 0 = none
    abort: int = 0  # status answered instead (after the delay); 0 = none
    header: str = ""  # only requests that have this field


@dataclass(frozen=True, slots=True)
class Split:
    """Shares of a route's requests by backend."""

    weights: tuple[tuple[str, int], ...]  # (backend, weight)
    key: str = ""  # what keeps a client at its side: ip | header:NAME | cookie:NAME ...; '' = nothing


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How much of one key passes; a request over it gets 429. Counted exactly over all workers (GCRA)."""

    rate: float  # a second, above 0; of "concurrent" how many at once
    burst: int = 0  # how many more may come at once
    key: tuple[str, ...] = ("ip",)  # ip | path | host | route | header:N | cookie:N | query:N; () = all together
    ipv4_prefix: int = 32  # bits of an address that make one client
    ipv6_prefix: int = 64
    exempt: tuple[str, ...] = ()  # networks that are not counted
    dry_run: bool = False  # count and log what would be refused, refuse nothing
    of: str = "requests"  # requests | connections | bytes | concurrent
    span: float = 1.0  # seconds that the rate was written for: what header fields tell
    name: str = ""  # in header fields; '' = its place
    shared: bool = False  # with the other nodes that use the same Redis


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """How fast bytes go, a second; 0 = as fast as they come."""

    response: float = 0.0  # from servers
    response_after: int = 0  # bytes of each response that pass without limit first
    request: float = 0.0  # from clients
    request_after: int = 0
    key: tuple[str, ...] | None = None  # who shares the rates, as of RateLimit; None = each request has its own
    ipv4_prefix: int = 32
    ipv6_prefix: int = 64
    exempt: tuple[str, ...] = ()  # networks that are not limited


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
