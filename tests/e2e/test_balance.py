"""Which server gets a request: every algorithm in a running balancer, and what it takes its key from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from .balancer import Balancer, Balancers
from .servers import Answering
from .wire import Origin


@pytest.fixture(scope="module")
def named() -> Iterator[list[Answering]]:
    """Four servers that answer with their number."""
    servers = [Answering(lambda request, body=b"%d" % i: body) for i in range(4)]  # type: ignore[misc]
    yield servers
    for server in servers:
        server.stop()


def ask(lb: Balancer, n: int, *lines: str, target: str = "/", host: str = "x") -> list[str]:
    """Names of the servers of n requests on one connection."""
    client = lb.dial()
    head = "\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host}", *lines, "", ""])
    names = [client.send(head).response().text for _ in range(n)]
    client.close()
    return names


KEYS = {
    "header:X-User": lambda i: ((f"X-User: u{i}",), "/"),
    "cookie:sid": lambda i: ((f"Cookie: a=b; sid=s{i}; c=d",), "/"),
    "query:user": lambda i: ((), f"/?a=b&user=u{i}&c=d"),
    "path": lambda i: ((), f"/p{i}?x={i * 7}"),
    "uri": lambda i: ((), f"/same?x={i}"),
}


def host_of(key: str, method: str) -> str:
    return re.sub("[^a-z]+", "-", f"{method}.{key}".lower())


ALGORITHMS = (
    "round_robin", "weighted_round_robin", "least_connections", "two_choices", "least_time", "random", "ip_hash",
    "first",
)  # fmt: skip
METHODS = ("maglev", "ring", "rendezvous", "jump")


@pytest.fixture(scope="module")
def every(shared_balancer: Balancers, named: list[Answering]) -> Balancer:
    """A backend for each algorithm and each kind of key, chosen by Host, all of the same servers."""
    balances: dict[str, Any] = {name: name for name in ALGORITHMS}
    balances["keyless"] = {"algorithm": "consistent_hash", "key": "header:X-Absent"}
    for method in METHODS:
        for key in KEYS:
            balances[host_of(key, method)] = {"algorithm": "consistent_hash", "key": key, "method": method}
    return shared_balancer(
        frontend={"routes": [{"host": name, "backend": name} for name in balances]},
        backends={
            name: {"servers": [s.address for s in named], "balance": balance} for name, balance in balances.items()
        },
    )


@pytest.mark.parametrize("name", [*ALGORITHMS, "keyless"])
def test_every_algorithm_serves(every: Balancer, name: str) -> None:
    counts = Counter(ask(every, 200, host=name))
    assert counts.total() == 200
    if name in ("first", "ip_hash"):
        assert len(counts) == 1
    elif name == "least_time":
        assert len(counts) >= 2
    else:
        assert len(counts) == 4
        assert min(counts.values()) >= (50 if "round_robin" in name else 10)


def test_weights(balancer: Balancers, named: list[Answering]) -> None:
    servers = [{"address": s.address, "weight": w} for s, w in zip(named, (5, 3, 2, 0), strict=True)]
    lb = balancer(*servers, backend={"balance": "weighted_round_robin"})
    names = ask(lb, 100)
    assert Counter(names) == {"0": 50, "1": 30, "2": 20}
    assert max(names[i : i + 10].count("0") for i in range(0, 100, 10)) == 5  # spread evenly, not in runs


def test_least_connections_takes_the_free_one(balancer: Balancers) -> None:
    origins = [Origin() for _ in range(3)]
    lb = balancer(*origins, backend={"balance": "least_connections"})
    held = [lb.dial().get(f"/{i}") for i in range(3)]  # one each
    wires = [origin.request()[0] for origin in origins]
    wires[1].answer("free")
    assert "free" in [held_answer(client) for client in held]
    last = lb.dial().get("/last")
    assert wires[1].request().target == "/last"
    wires[1].answer("last")
    assert last.response().text == "last"


def held_answer(client: Any) -> str:
    return "" if client.silent(0.05) else client.response().text


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("key", KEYS)
def test_same_key_same_server(every: Balancer, key: str, method: str) -> None:
    chosen = {}
    for i in range(40):
        lines, target = KEYS[key](i)
        names = ask(every, 2, *lines, host=host_of(key, method), target=target)
        names += ask(every, 1, "X-Noise: 1", *lines, host=host_of(key, method), target=target)
        assert len(set(names)) == 1, f"{key} {i} went to {names}"
        chosen[i] = names[0]
    assert len(set(chosen.values())) >= 3


def test_key_by_source_address(balancer: Balancers, named: list[Answering]) -> None:
    """As nginx's ip_hash has it: the clients of one /24 together."""
    lb = balancer(*(s.address for s in named), backend={"balance": "ip_hash"})
    for i in range(30):
        h = 89
        for octet in (127, 3, i):
            h = (h * 113 + octet) % 6271
        names = {lb.dial(source=f"127.3.{i}.{last}").get("/").response().text for last in (1, 77, 254)}
        assert names == {str(h % 4)}


def test_keys_of_a_dead_server_move_and_no_others(balancer: Balancers) -> None:
    servers = [Answering(lambda request, body=b"%d" % i: body) for i in range(4)]  # type: ignore[misc]
    lb = balancer(
        *(s.address for s in servers),
        backend={"balance": {"algorithm": "consistent_hash", "key": "path", "method": "ring"}},
    )
    before = {i: ask(lb, 1, target=f"/{i}")[0] for i in range(60)}
    servers[2].stop()
    after = {i: ask(lb, 1, target=f"/{i}")[0] for i in range(60)}
    assert [i for i in before if before[i] != after[i]] == [i for i in before if before[i] == "2"]
    assert "2" not in after.values()
    for server in (servers[0], servers[1], servers[3]):
        server.stop()
