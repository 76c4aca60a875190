"""How the state of servers is known: checks, outliers, circuit breakers."""

from __future__ import annotations

from dataclasses import dataclass

from fastlb.spec.tls import CheckTls


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
