"""Who requests are from: passwords, tokens, a service that is asked; and copies of requests."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """Names and hashed passwords."""

    file: str = ""  # as htpasswd writes it
    users: tuple[str, ...] = field(default=(), repr=False)  # lines of such a file
    realm: str = "Restricted"
    user_header: str = ""  # tells the server the name; '' = none does
    strip: bool = False  # the server does not get Authorization
    cache: float = 300.0  # seconds for which credentials that were right are not hashed again
    failures: int = 10  # of one address, after which it gets 429 for the rest of `window`; 0 = never
    window: float = 60.0
    threads: int = 2  # of a worker


@dataclass(frozen=True, slots=True)
class Jwt:
    """Signed tokens. Exactly one of secret, key and jwks."""

    secret: str = field(default="", repr=False)  # itself, env:NAME or file:PATH
    key: str = ""  # file of a public key or certificate, PEM
    jwks: str = ""  # URL of a key set
    jwks_ca: str = ""  # file of authorities for it; '' = the system's
    refresh: float = 600.0  # seconds after which the set is fetched again
    refresh_min: float = 30.0  # between two fetches, whatever tokens ask for
    stale: float = 3600.0  # old keys are used for so long while fetching fails; then 503
    timeout: float = 5.0  # of a fetch
    algorithms: tuple[str, ...] = ()  # () = all that the key is for
    issuer: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    leeway: float = 30.0  # seconds that clocks may differ
    expires: bool = True  # a token without exp is refused
    require: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (claim, values of which it has one; () = any), else 403
    headers: tuple[tuple[str, str], ...] = ()  # (claim, header that tells it to the server)
    user_claim: str = "sub"  # for the log
    cookie: str = ""  # that holds the token where Authorization does not
    realm: str = "api"
    strip: bool = False
    cache: float = 300.0  # seconds for which a token that was right is not verified again, and never beyond its exp
    failures: int = 0
    window: float = 60.0
    max_bytes: int = 8192  # of a token
    threads: int = 1


@dataclass(frozen=True, slots=True)
class ForwardAuth:
    """A service is asked about each request, without its body: 2xx lets it through."""

    backend: str
    path: str = "/"  # what is asked for
    timeout: float = 5.0
    on_error: str = "deny"  # no answer, or 5xx: deny (503) | allow
    send: tuple[str, ...] = ()  # of the request's headers; () = all
    headers: tuple[str, ...] = ()  # of the service's answer, that the server gets
    response_headers: tuple[str, ...] = ()  # likewise, that the client gets with the server's answer
    refusal_headers: tuple[str, ...] = (
        "WWW-Authenticate", "Location", "Set-Cookie", "Content-Type", "Content-Encoding", "Cache-Control",
        "Retry-After",
    )  # fmt: skip  # that the client gets when it is refused
    user_header: str = ""  # of the answer, with the name for the log
    max_body: int = 65536  # bytes of a refusal that are passed on


@dataclass(frozen=True, slots=True)
class Auth:
    """One way of telling who requests are from: exactly one of the three."""

    name: str
    basic: BasicAuth | None = None
    jwt: Jwt | None = None
    forward: ForwardAuth | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """Copies of requests for a second backend, whose answers are compared and thrown away."""

    backend: str
    percent: float = 1.0  # share of the requests, 0-1
    max_concurrent: int = 64  # copies under way at a time, a worker; beyond, none is made
    max_body: int = 65536  # bytes of a request's body; what is longer is not copied
    timeout: float = 30.0  # seconds of a copy in all
    compare: bool = True
    compare_headers: tuple[str, ...] = ("Content-Type", "Location")
    compare_body: bool = True
    compare_max: int = 1 << 20  # bytes of a body that are hashed; beyond, only lengths are compared
    examples: int = 20  # of differences that are kept, a worker
    log: bool = True  # differing answers, a few a second
