"""Which server gets a request: every algorithm in a running balancer, and what it takes its key from."""

from __future__ import annotations

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


def ask(lb: Balancer, n: int, *lines: str, target: str = "/") -> list[str]:
    """Names of the servers of n requests on one connection."""
    client = lb.dial()
    names = [client.get(target, *lines).response().text for _ in range(n)]
    client.close()
    return names


@pytest.mark.parametrize(
    "algorithm",
    ["round_robin", "weighted_round_robin", "least_connections", "two_choices", "least_time", "random", "ip_hash",
     {"algorithm": "consistent_hash", "key": "header:X-Absent"}, "first"],
)  # fmt: skip
def test_every_algorithm_serves(balancer: Balancers, named: list[Answering], algorithm: Any) -> None:
    lb = balancer(*(s.address for s in named), backend={"balance": algorithm})
    counts = Counter(ask(lb, 200))
    assert counts.total() == 200
    if algorithm in ("first", "ip_hash"):
        assert len(counts) == 1
    elif algorithm == "least_time":
        assert len(counts) >= 2
    else:
        assert len(counts) == 4
        assert min(counts.values()) >= (50 if algorithm in ("round_robin", "weighted_round_robin") else 10)


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


KEYS = {
    "header:X-User": lambda i: ((f"X-User: u{i}",), "/"),
    "cookie:sid": lambda i: ((f"Cookie: a=b; sid=s{i}; c=d",), "/"),
    "query:user": lambda i: ((), f"/?a=b&user=u{i}&c=d"),
    "path": lambda i: ((), f"/p{i}?x={i * 7}"),
    "uri": lambda i: ((), f"/same?x={i}"),
}


@pytest.mark.parametrize("method", ["maglev", "ring", "rendezvous", "jump"])
@pytest.mark.parametrize("key", KEYS)
def test_same_key_same_server(balancer: Balancers, named: list[Answering], key: str, method: str) -> None:
    lb = balancer(
        *(s.address for s in named), backend={"balance": {"algorithm": "consistent_hash", "key": key, "method": method}}
    )
    chosen = {}
    for i in range(40):
        lines, target = KEYS[key](i)
        names = set(ask(lb, 2, *lines, target=target)) | set(ask(lb, 1, "X-Noise: 1", *lines, target=target))
        assert len(names) == 1, f"{key} {i} went to {names}"
        chosen[i] = names.pop()
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
