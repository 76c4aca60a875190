"""Policies in Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from fastlb.balance import Balancer, NoServerAvailable, Policy, Server, algorithms, register
from fastlb.balance.options import policies
from fastlb.balance.probe import Probe


@pytest.fixture(autouse=True)
def forget_policies() -> Iterator[None]:
    before = dict(policies)
    yield
    policies.clear()
    policies.update(before)


def last_server() -> type[Policy]:
    @register("last")
    class Last(Policy):
        def __init__(self, back: int = 1) -> None:
            self.back = back
            self.seen: list[tuple[object, ...]] = []

        def pick(self, servers: Sequence[Server], key: str | bytes | None) -> Server | None:
            self.seen.append((*servers, key))
            return None if key == "none" else servers[-self.back]

        def released(self, server: Server, ok: bool | None, latency: float | None) -> None:
            self.seen.append((server, ok, latency))

    return Last


def test_a_policy_chooses_among_what_may_be_picked() -> None:
    last_server()
    assert "last" in algorithms()
    b = Balancer("last", ["a:1", "b:1", "c:1"])
    a, second, third = b.servers
    assert b.pick() is third
    b.set_state(third, "down")
    assert b.pick("key") is second
    b.set_weight(second, 0)
    assert b.pick() is a
    b.set_state(a, "drain")
    with pytest.raises(NoServerAvailable):
        b.pick()
    assert [b.in_flight(s) for s in b.servers] == [1, 1, 1]
    for server in b.servers:
        b.release(server)
    with pytest.raises(ValueError, match="more often"):
        b.release(a)


def test_options_and_limits() -> None:
    last_server()
    b = Balancer("last", ["a:1", "b:1"], back=2, max_connections=1)
    assert b.pick() is b.servers[0]
    with pytest.raises(IndexError):  # the policy's own mistake: one server left
        b.pick()
    with pytest.raises(ValueError, match="bakc"):
        Balancer("last", ["a:1"], bakc=2)
    b = Balancer("last", ["a:1"], max_connections=1)
    b.pick()
    with pytest.raises(NoServerAvailable) as caught:
        b.pick()
    assert caught.value.full


def test_none_and_strangers() -> None:
    last_server()
    b = Balancer("last", ["a:1", "b:1"])
    with pytest.raises(NoServerAvailable):
        b.pick("none")
    with pytest.raises(TypeError, match="key"):
        b.pick(3)

    @register("stranger")
    class Stranger(Policy):
        def pick(self, servers: Sequence[Server], key: str | bytes | None) -> Server | None:
            return Server("x:1")

    with pytest.raises(ValueError, match="not offered"):
        Balancer("stranger", ["a:1"]).pick()


def test_registering() -> None:
    with pytest.raises(ValueError, match="already"):
        register("two_choices")
    with pytest.raises(ValueError, match="my_policy"):
        register("my-policy")
    with pytest.raises(TypeError, match="subclass"):
        register("thing")(object)
    assert "thing" not in algorithms()
    register("bare")(type("Bare", (Policy,), {}))
    with pytest.raises(NotImplementedError):
        Balancer("bare", ["a:1"]).pick()
    with pytest.raises(ValueError, match="did you mean 'bare'"):
        Balancer("bar", ["a:1"])


def test_the_engine_cannot_use_them() -> None:
    last_server()
    with pytest.raises(ValueError, match="policy in Python"):
        Probe("last", [("a", 1)])
