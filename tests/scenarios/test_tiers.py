"""Priority tiers and slow start: docs/health.md, with real processes."""

from __future__ import annotations

import collections
import http.client
import json
from collections.abc import Iterator

import pytest

from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import Message
from tests.helpers import free_port, wait_until

NOT_NOW = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
TOKEN = "of-this-test-alone"
# 20 checks a second, each of which decides.
CHECK = {"path": "/health", "interval": "50ms", "timeout": "10s", "rise": 1, "fall": 1}


class Patients:
    """Five servers that answer with their name, s0 to s4, and whose health is bad while they are in `ill`."""

    def __init__(self) -> None:
        self.ill: set[str] = set()
        self.servers = [
            Answering(lambda request, name=f"s{n}": self._answer(request, name))  # type: ignore[misc]
            for n in range(5)
        ]

    def _answer(self, request: Message, name: str) -> bytes:
        return NOT_NOW if request.target == "/health" and name in self.ill else name.encode()


@pytest.fixture
def patients() -> Iterator[Patients]:
    five = Patients()
    yield five
    for server in five.servers:
        server.stop()


def spread(lb: Balancer, times: int) -> dict[str, int]:
    """Who answers so many requests of one connection."""
    client = lb.dial()
    return dict(sorted(collections.Counter(client.get("/").response().text for _ in range(times)).items()))


def test_load_spills_as_servers_are_lost_and_comes_back(balancer: Balancers, patients: Patients) -> None:
    """Two near servers, two far ones, a backup. One near server alone carries 70 %, the rest spills over."""
    near, far, spare = patients.servers[:2], patients.servers[2:4], patients.servers[4]
    lb = balancer(
        *(server.address for server in near),
        *({"address": server.address, "tier": 1, "name": f"far{n}"} for n, server in enumerate(far)),
        {"address": spare.address, "backup": True},
        backend={"balance": "round_robin", "health_check": CHECK},
    )
    assert spread(lb, 100) == {"s0": 50, "s1": 50}

    patients.ill = {"s0"}
    lb.complained(r"backend app: requests go to tier 0: 70 %, tier 1: 30 %")
    assert spread(lb, 100) == {"s1": 70, "s2": 15, "s3": 15}

    patients.ill = {"s0", "s1", "s2", "s3"}
    lb.complained(r"backend app: requests go to the backups: 100 %")
    assert spread(lb, 10) == {"s4": 10}

    patients.ill = set()
    wait_until(lambda: spread(lb, 100) == {"s0": 50, "s1": 50}, what="the near servers to serve alone")


def test_panic_is_loud(balancer: Balancers, patients: Patients) -> None:
    """With fewer than half of its servers well a backend uses all, and says so; and says when that is over."""
    lb = balancer(
        *(server.address for server in patients.servers[:3]),
        backend={"balance": "round_robin", "health_check": CHECK},
    )
    patients.ill = {"s0", "s1"}
    lb.complained(r"backend app is in panic: only 1 of 3 servers are well, so requests go to all of them")
    assert spread(lb, 30) == {"s0": 10, "s1": 10, "s2": 10}
    patients.ill = set()
    lb.complained(r"backend app: panic is over")


class Admin:
    """Changes the servers of `app`."""

    def __init__(self, port: int) -> None:
        self.api = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def say(self, method: str, path: str, body: object) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        self.api.request(method, f"/v1/backends/app/servers{path}", json.dumps(body), headers)
        answer = self.api.getresponse()
        assert answer.read() and answer.status in (200, 201)


@pytest.fixture
def admin() -> Iterator[Admin]:
    one = Admin(free_port())
    yield one
    one.api.close()


def slow(balancer: Balancers, patients: Patients, admin: Admin) -> Balancer:
    """Two servers, whose shares would take an hour to become whole."""
    return balancer(
        *(server.address for server in patients.servers[:2]),
        backend={"balance": "weighted_round_robin", "slow_start": "1h"},
        admin={"listen": f"127.0.0.1:{admin.api.port}", "token": TOKEN},
    )


def test_a_server_that_is_added_starts_slowly(balancer: Balancers, patients: Patients, admin: Admin) -> None:
    """It begins with a tenth of a share; at the start of the balancer everybody began with a whole one."""
    lb = slow(balancer, patients, admin)
    assert spread(lb, 20) == {"s0": 10, "s1": 10}
    admin.say("POST", "", {"address": patients.servers[2].address, "name": "late"})
    assert spread(lb, 1)
    shares = spread(lb, 330)
    assert 0 < shares["s2"] <= 30  # a tenth of 110


def test_a_server_back_from_maintenance_starts_slowly(balancer: Balancers, patients: Patients, admin: Admin) -> None:
    """Its caches are cold. One that was only drained was at work all the time, and goes on with its whole share."""
    lb = slow(balancer, patients, admin)
    assert spread(lb, 20) == {"s0": 10, "s1": 10}
    admin.say("PUT", "/s1/state", {"state": "drain"})
    assert spread(lb, 20) == {"s0": 20}
    admin.say("PUT", "/s1/state", {"state": "ready"})
    assert spread(lb, 20) == {"s0": 10, "s1": 10}
    admin.say("PUT", "/s1/state", {"state": "maint"})
    assert spread(lb, 20) == {"s0": 20}
    admin.say("PUT", "/s1/state", {"state": "ready"})
    shares = spread(lb, 220)
    assert 0 < shares["s1"] <= 30  # a tenth of 200
    # Once more: what it had reached does not count any more.
    admin.say("PUT", "/s1/state", {"state": "maint"})
    admin.say("PUT", "/s1/state", {"state": "drain"})
    assert spread(lb, 20) == {"s0": 20}
    admin.say("PUT", "/s1/state", {"state": "ready"})
    assert 0 < spread(lb, 220)["s1"] <= 30
