"""A test bench for balancers and what stands behind them: everything on loopback, on free ports, without sleeping.

    from fastlb.testing import Balancer, Origin, RawClient, respond

    with Origin(respond(b"hello")) as origin, Balancer.to(origin) as balancer, RawClient(balancer.address) as client:
        assert client.get("/").body == b"hello"

`Origin` answers by script: late, cut short, in pieces, with garbage, not at all. `RawClient` sends bytes and reads
responses. `FaultyProxy` stands between two of them and delays, cuts or swallows. `Balancer` is `fastlb.LoadBalancer` in
a thread. All are context managers for plain (not async) tests; each runs its own loop in a thread of its own.
"""

from __future__ import annotations

from fastlb.testing.balancer import Balancer
from fastlb.testing.client import ConnectionEnded, RawClient
from fastlb.testing.message import Message, Request, Response
from fastlb.testing.origin import Exchange, Origin
from fastlb.testing.proxy import FaultyProxy
from fastlb.testing.script import (
    Close,
    Delay,
    HalfClose,
    Hang,
    Reset,
    Script,
    Send,
    Step,
    Trickle,
    WaitFor,
    by_path,
    chunked,
    echo,
    head,
    in_turn,
    interim,
    respond,
)

__all__ = [
    "Balancer",
    "Close",
    "ConnectionEnded",
    "Delay",
    "Exchange",
    "FaultyProxy",
    "HalfClose",
    "Hang",
    "Message",
    "Origin",
    "RawClient",
    "Request",
    "Reset",
    "Response",
    "Script",
    "Send",
    "Step",
    "Trickle",
    "WaitFor",
    "by_path",
    "chunked",
    "echo",
    "head",
    "in_turn",
    "interim",
    "respond",
]
