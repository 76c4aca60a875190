"""A name that stands for several servers: docs/discovery.md, with real processes and dnsmasq."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dnsmasq import Dnsmasq
from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.helpers import wait_until

from .gate import Gate

BLUE, GREEN, SLOW = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@pytest.fixture
def dns(tmp_path: Path) -> Iterator[Dnsmasq]:
    with Dnsmasq(tmp_path) as one:
        yield one


@pytest.fixture
def late() -> Iterator[Gate]:
    """A server that answers when its `go` is set."""
    one = Gate(SLOW)
    yield one
    one.go.set()
    one.server.stop()


def spread(lb: Balancer, times: int) -> dict[str, int]:
    """Who answers so many requests of one connection."""
    client = lb.dial()
    return dict(collections.Counter(client.get("/").response().text for _ in range(times)))


def test_servers_join_and_leave_with_the_answers(balancer: Balancers, dns: Dnsmasq, late: Gate) -> None:
    """Two workers. One server leaves while it works for somebody; another joins, and begins with a tenth of a share."""
    port = late.server.port
    with Answering(lambda request: b"blue", BLUE, port), Answering(lambda request: b"green", GREEN, port):
        dns.tell(shop=[BLUE, SLOW])
        lb = balancer(
            frontends={"web": {"backend": "shop"}},
            backends={
                "shop": {
                    "balance": "weighted_round_robin",
                    "discover": {"dns": f"shop.test:{port}", "slow_start": "1h", "weight": 100},
                    "health_check": {"type": "tcp", "interval": "50ms"},
                },
            },
            resolver={"nameservers": dns.address, "min_ttl": "50ms"},
            global_={"workers": 2},
        )
        waiting = [lb.dial().get(f"/{n}") for n in range(4)]
        wait_until(lambda: late.came, what="a request on the slow server")

        dns.tell(shop=[BLUE, GREEN])
        lb.complained(f"server shop/{SLOW}:{port} leaves")
        lb.complained(f"server shop/{GREEN}:{port} joins")
        shares = spread(lb, 330)
        assert set(shares) == {"blue", "green"} and 0 < shares["green"] <= 60  # 30 of a worker that all went to

        late.go.set()
        answers = collections.Counter(client.response().text for client in waiting)
        assert answers["done"] == len(late.came) > 0 and sum(answers.values()) == 4
        lb.complained(f"server shop/{SLOW}:{port} is gone")
