"""mode = "tcp": a client's connections go to the server that had the first one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.admin.conftest import Api
from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.wire import dial
from tests.helpers import free_port

from .greeter import Greeter, echoed, greeted
from .test_affinity import admin, reload


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Greeter]]:
    made = [Greeter(f"s{i}") for i in range(3)]
    yield made
    for one in made:
        one.stop()


@pytest.fixture(scope="module")
def sticky(shared_balancer: Balancers, servers: list[Greeter], tmp_path_factory: pytest.TempPathFactory) -> Balancer:
    """Two workers and two frontends: one moves clients whose server is not there, the other turns them away."""
    tcp = {
        "mode": "tcp",
        "balance": "round_robin",
        "servers": [{"name": s.name, "address": s.address} for s in servers],
    }
    return shared_balancer(
        frontends={
            "web": {"mode": "tcp", "backend": "app"},
            "strict": {"mode": "tcp", "listen": f"127.0.0.1:{free_port()}", "backend": "strict"},
        },
        backends={
            "app": tcp | {"affinity": "table", "outlier": False},
            "strict": tcp | {"affinity": {"type": "table", "on_unavailable": "fail", "ipv4_prefix": 24}},
        },
        admin={"socket": str(tmp_path_factory.mktemp("admin") / "s")},
        global_={"workers": 2},
    )


def server_of(lb: Balancer, source: str, frontend: str = "web") -> str:
    """Where a client from that address gets by a new connection; '' = nowhere."""
    with dial(("127.0.0.1", lb.ports[frontend]), source=source) as client:
        try:
            return greeted(client)
        except AssertionError:
            return ""


def state(api: Api, server: str, to: str) -> None:
    assert api.patch(server, state=to).status == 200


def test_a_client_stays_at_its_server(sticky: Balancer) -> None:
    first = {source: server_of(sticky, source) for source in (f"127.0.1.{n}" for n in range(1, 7))}
    assert set(first.values()) == {"s0", "s1", "s2"}
    for _ in range(3):  # on whichever worker
        assert {source: server_of(sticky, source) for source in first} == first
    (table,) = admin(sticky).get("/v1/tables?backend=app")["tables"]
    assert {entry["key"]: entry["server"] for entry in table["entries"] if entry["key"] in first} == first


def test_a_network_may_be_one_client(sticky: Balancer) -> None:
    assert len({server_of(sticky, f"127.0.2.{n}", "strict") for n in range(1, 9)}) == 1


def test_a_draining_server_keeps_its_clients_and_one_in_maintenance_does_not(sticky: Balancer) -> None:
    api, source = admin(sticky), "127.0.3.1"
    where = server_of(sticky, source)
    state(api, f"app/{where}", "drain")
    assert server_of(sticky, source) == where
    state(api, f"app/{where}", "maint")
    other = server_of(sticky, source)
    assert other not in (where, "")
    state(api, f"app/{where}", "ready")
    assert server_of(sticky, source) == other  # its session is there now


def test_a_client_may_rather_be_turned_away(sticky: Balancer) -> None:
    api, source = admin(sticky), "127.0.4.1"
    where = server_of(sticky, source, "strict")
    state(api, f"strict/{where}", "maint")
    assert server_of(sticky, source, "strict") == ""
    state(api, f"strict/{where}", "ready")
    assert server_of(sticky, source, "strict") == where


def test_a_server_that_is_gone_loses_its_clients_with_their_next_connection(
    sticky: Balancer, servers: list[Greeter]
) -> None:
    source = "127.0.5.1"
    where = server_of(sticky, source)
    gone = next(one for one in servers if one.name == where)
    with dial(sticky.address, source=source) as old:
        assert greeted(old) == where
        gone.leave()
        try:
            other = server_of(sticky, source)
            assert other not in (where, "")
        finally:
            gone.start()
        assert server_of(sticky, source) == other
        assert echoed(old)


def test_it_holds_over_a_reload(sticky: Balancer) -> None:
    first = {source: server_of(sticky, source) for source in ("127.0.6.1", "127.0.6.2", "127.0.6.3")}
    reload(sticky)
    assert {source: server_of(sticky, source) for source in first} == first


def test_a_full_server(balancer: Balancers, servers: list[Greeter]) -> None:
    lb = balancer(
        *(s.address for s in servers[:2]),
        frontend={"mode": "tcp"},
        backend={"mode": "tcp", "affinity": "table", "max_connections": 1},
    )
    with dial(lb.address, source="127.0.7.1") as first, dial(lb.address, source="127.0.7.1") as second:
        assert {greeted(first), greeted(second)} == {"s0", "s1"}
