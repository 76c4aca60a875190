"""The part of the `Spec` about who gets through and where to: access, authentication, splits, faults.

Its names are those of `fastlb.spec`, which has them all; this file only keeps that one readable.
"""

from __future__ import annotations

from dataclasses import dataclass


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
