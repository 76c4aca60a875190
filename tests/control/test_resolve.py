"""Socket addresses of servers."""

from __future__ import annotations

import asyncio
import socket

import pytest

from fastlb.control.resolve import literal, resolve
from fastlb.spec import Address, Backend, Server, Spec

AF_INET, AF_INET6, AF_UNIX = int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_UNIX)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (Address("10.0.0.1", 80), ((AF_INET, ("10.0.0.1", 80)),)),
        (Address("::1", 80), ((AF_INET6, ("::1", 80)),)),
        (Address("fe80::1%eth0", 80), ((AF_INET6, ("fe80::1%eth0", 80)),)),
        (Address(path="/run/a.sock"), ((AF_UNIX, "/run/a.sock"),)),
        (Address(path="@name"), ((AF_UNIX, "\0name"),)),
        (Address("app.example", 80), ()),
    ],
)
def test_literal(address: Address, expected) -> None:
    assert literal(address) == expected


def spec(*addresses: Address) -> Spec:
    return Spec((), (Backend("app", tuple(Server(f"s{n}", a) for n, a in enumerate(addresses))),), source="lb.toml")


class Resolver(asyncio.SelectorEventLoop):
    """A loop whose resolver knows two names and never answers for a third."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def getaddrinfo(self, host, port, **kwargs):
        self.asked.append(host)
        if host == "both.test":
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
            ]
        if host == "slow.test":
            await asyncio.Event().wait()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def run(spec: Spec, **kwargs):
    loop = Resolver()
    try:
        return *loop.run_until_complete(resolve(spec, **kwargs)), loop.asked
    finally:
        loop.close()


def test_names_are_asked_once_and_keep_the_resolvers_order() -> None:
    found, problems, asked = run(spec(Address("both.test", 80), Address("10.0.0.1", 1), Address("both.test", 81)))
    assert problems == []
    assert asked == ["both.test"]
    first, second, third = (s.resolved for s in found.backends[0].servers)
    assert first == ((AF_INET6, ("2001:db8::1", 80)), (AF_INET, ("192.0.2.1", 80)))
    assert second == ((AF_INET, ("10.0.0.1", 1)),)
    assert third == ((AF_INET6, ("2001:db8::1", 81)), (AF_INET, ("192.0.2.1", 81)))


def test_unknown_and_slow_names_are_problems_not_failures() -> None:
    found, problems, _ = run(
        spec(Address("lost.test", 80), Address("10.0.0.1", 1), Address("slow.test", 80)), within=0.05
    )
    assert [s.resolved for s in found.backends[0].servers] == [(), ((AF_INET, ("10.0.0.1", 1)),), ()]
    assert [p.key for p in problems] == ["backends.app.servers[0].address", "backends.app.servers[2].address"]
    assert "Name or service not known" in problems[0].reason
    assert "within 0.05 s" in problems[1].reason
    assert problems[0].file == "lb.toml"


def test_an_invalid_name_is_a_problem() -> None:
    spec_ = spec(Address("a" * 70 + ".test", 80), Address("..", 80))
    _, problems = asyncio.run(resolve(spec_))
    assert len(problems) == 2


def test_a_real_name() -> None:
    found, problems = asyncio.run(resolve(spec(Address("localhost", 80))))
    assert problems == []
    assert found.backends[0].servers[0].resolved[0][1] in (("127.0.0.1", 80), ("::1", 80))
