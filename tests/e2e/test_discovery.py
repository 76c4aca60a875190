"""Names that stand for several servers, with dnsmasq as the name server."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fastlb.config.address import parse_server
from fastlb.control.names import Answer, look_up
from fastlb.spec import Resolver
from tests.dnsmasq import Dnsmasq
from tests.helpers import wait_until

from .balancer import Balancer, Balancers
from .datagrams import Echo, Peer
from .servers import Answering
from .test_tls_renewal import Api
from .test_udp import frontend

QUICK = {"min_ttl": "50ms", "interval": "100ms"}  # it asks twenty times a second
HOSTS = tuple(f"127.0.0.{n}" for n in range(2, 6))


@pytest.fixture
def dns(tmp_path: Path) -> Iterator[Dnsmasq]:
    with Dnsmasq(tmp_path, services=[("_app._tcp.test", "one.test", 80, 5, 3)]) as one:
        yield one


@pytest.fixture(scope="module")
def farm() -> Iterator[tuple[Answering, ...]]:
    """Servers at 127.0.0.2 to .5, on one port, that answer with their address."""
    port, servers = 0, []
    for host in HOSTS:
        servers.append(Answering(lambda request, host=host: host.encode(), host, port))  # type: ignore[misc]
        port = servers[0].port
    yield tuple(servers)
    for server in servers:
        server.stop()


def spread(lb: Balancer, times: int) -> dict[str, int]:
    """Who answers so many requests of one connection."""
    client = lb.dial()
    return dict(sorted(collections.Counter(client.get("/").response().text for _ in range(times)).items()))


def api_of(folder: Path) -> Api:
    return Api(folder / "admin.sock")


def start(balancer: Balancers, dns: Dnsmasq, folder: Path, backend: dict[str, Any], **more: Any) -> Balancer:
    return balancer(
        frontends={"web": {"backend": "app"}},
        backends={"app": {"balance": "round_robin", **backend}},
        resolver={"nameservers": dns.address, **QUICK},
        admin={"socket": str(folder / "admin.sock")},
        **more,
    )


def test_a_life(balancer: Balancers, dns: Dnsmasq, farm: tuple[Answering, ...], tmp_path: Path) -> None:
    """No server at first; then two; what an operator did to one of them; failures; a reload without any name server."""
    port = farm[0].port
    lb = start(balancer, dns, tmp_path, {"discover": {"dns": f"app.test:{port}", "slow_start": "0"}})
    lb.complained(rf"discover\[0\] = \"app.test:{port}\".*there is no such name.*stands for no server until it can be")
    assert lb.dial().get("/").response().status == 503
    with contextlib.closing(api_of(tmp_path)) as api:
        (row,) = api.ask("GET", "/v1/servers")[1]["servers"]
        assert (row["name"], row["state"]) == (f"app.test:{port}", "DOWN")
        dns.tell(app=HOSTS[:2])
        lb.complained(rf"server app/{HOSTS[1]}:{port} joins \(app.test:{port}\)")
        assert wait_until(lambda: spread(lb, 10) == {HOSTS[0]: 5, HOSTS[1]: 5})
        (told,) = api.ask("GET", "/v1/backends/app")[1]["discover"]
        assert (told["source"], told["servers"], told["found"], told["problem"]) == (f"app.test:{port}", 2, 2, "")
        assert told["failed_lookups"] >= 1 and told["lookups"] >= 1 and told["ttl"] == 0.0

        path = f"/v1/backends/app/servers/{HOSTS[0]}:{port}"
        api.request("PATCH", path, '{"weight": 0}', {"Content-Type": "application/json"})
        answer = api.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
        wait_until(lambda: spread(lb, 4) == {HOSTS[1]: 4}, what="the other server alone")

        dns.tell(other=["127.0.0.9"])
        lb.complained(r"app.test: the name cannot be resolved \(there is no such name\).*keep the addresses they have")
        assert spread(lb, 4) == {HOSTS[1]: 4}
        dns.stop(signal.SIGKILL)
        lb.program.process.send_signal(signal.SIGHUP)
        lb.complained(r"the name cannot be resolved now; it stands for what it stood for")
        lb.complained("configuration [0-9]+ runs")
        assert spread(lb, 4) == {HOSTS[1]: 4}  # the weight too
        (told,) = api.ask("GET", "/v1/backends/app")[1]["discover"]
        assert told["servers"] == 2 and told["problem"]
        text = api.ask("GET", "/metrics")[1]
        assert f'fastlb_discovery_servers{{proxy="app",source="app.test:{port}",state="used"}} 2' in text
        assert f'fastlb_discovery_failing{{proxy="app",source="app.test:{port}"}} 1' in text


def test_services(balancer: Balancers, farm: tuple[Answering, ...], tmp_path: Path) -> None:
    """Weights are shares; those with a higher priority number get what spills over."""
    ports = [farm[n].port for n in range(3)]
    services = [("_app._tcp.test", "one.test", ports[0], 5, 3), ("_app._tcp.test", "two.test", ports[1], 5, 1),
                ("_app._tcp.test", "far.test", ports[2], 9, 1)]  # fmt: skip
    with Dnsmasq(tmp_path, services=services) as names:
        names.tell(one=[HOSTS[0]], two=[HOSTS[1]], far=[HOSTS[2]])
        lb = start(
            balancer, names, tmp_path, {"discover": {"srv": "_app._tcp.test"}, "balance": "weighted_round_robin"}
        )
        assert spread(lb, 40) == {HOSTS[0]: 30, HOSTS[1]: 10}
        names.tell(one=[HOSTS[3]], two=[HOSTS[1]], far=[HOSTS[2]])
        lb.complained(rf"server app/{HOSTS[3]}:{ports[0]} joins \(srv:_app._tcp.test\)")
        lb.complained(rf"server app/{HOSTS[0]}:{ports[0]} is gone")
        with contextlib.closing(api_of(tmp_path)) as api:
            rows = api.ask("GET", "/v1/servers")[1]["servers"]
        assert {row["name"]: (row["weight"], row["tier"], row["source"]) for row in rows} == {
            f"{HOSTS[1]}:{ports[1]}": (1, 0, "srv:_app._tcp.test"),
            f"{HOSTS[2]}:{ports[2]}": (1, 1, "srv:_app._tcp.test"),
            f"{HOSTS[3]}:{ports[0]}": (3, 0, "srv:_app._tcp.test"),
        }


def test_flows_of_datagrams_follow_too(balancer: Balancers, dns: Dnsmasq) -> None:
    one = Echo("one", HOSTS[0])
    two = Echo("two", HOSTS[1], port=one.port)
    dns.tell(app=[HOSTS[0]])
    udp = balancer(
        frontends={"udp": frontend("pool")},
        backends={"pool": {"mode": "udp", "discover": f"app.test:{one.port}"}},
        resolver={"nameservers": dns.address, **QUICK},
        timeouts={"drain": "0"},
    )
    with Peer(to=("127.0.0.1", udp.ports["udp"])) as client:
        assert client.ask(b"x") == b"one:x"
        dns.tell(app=[HOSTS[1]])
        udp.complained(f"server pool/{HOSTS[0]}:{one.port} is gone")
        assert client.ask(b"x") == b"two:x"  # the flow that there is
    one.close()
    two.close()


def test_more_addresses_than_a_datagram_holds(dns: Dnsmasq) -> None:
    addresses = [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(400)]
    dns.tell(many=addresses)
    answer = find(dns, "many.test")
    assert sorted(host for _, host in answer.addresses) == sorted(addresses)


def test_services_without_addresses(dns: Dnsmasq) -> None:
    dns.tell(one=["127.0.0.2"])
    answer = find(dns, "srv:_app._tcp.test")
    assert [(t.host, t.priority, t.weight) for t in answer.targets] == [("one.test", 5, 3)]
    dns.tell(other=["127.0.0.2"])
    answer = find(dns, "srv:_app._tcp.test")
    assert not answer.found and "there is no such name" in answer.reason
    assert "no such name" in find(dns, "srv:_other._tcp.test").reason


def find(dns: Dnsmasq, name: str) -> Answer:
    resolver = Resolver(nameservers=(parse_server(dns.address),), timeout=10.0)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(look_up(name, resolver, 10.0))
