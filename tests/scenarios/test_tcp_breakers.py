"""mode = "tcp": servers that take connections and nothing else are left out, and get a few to show they are well."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.wire import Origin, Wire
from tests.helpers import free_port, wait_until

from .greeter import Greeter, echoed, greeted

TCP = {"mode": "tcp"}


@pytest.fixture
def servers() -> Iterator[list[Greeter]]:
    made = [Greeter("s0"), Greeter("s1"), Greeter("s2")]
    yield made
    for one in made:
        one.stop()


def come(lb: Balancer, times: int = 1) -> list[str]:
    """The names of the servers that so many clients got; '' = the session was broken off."""
    got = []
    for _ in range(times):
        with lb.dial().send("x") as client:
            try:
                got.append(greeted(client))
            except AssertionError:
                got.append("")
    return got


def test_a_server_that_breaks_sessions_off_gets_none_until_a_few_go_well(
    balancer: Balancers, servers: list[Greeter]
) -> None:
    breaker = {"errors": "50%", "min_requests": 5, "open": "1s", "trials": 3}
    lb = balancer(
        *(s.address for s in servers[:2]),
        frontend=TCP,
        backend={**TCP, "balance": "round_robin", "outlier": False, "circuit_breaker": breaker},
    )
    servers[0].ill = True
    seen = come(lb, 10)
    assert seen.count("s1") == 5
    lb.complained(r"circuit breaker of server app/s0 is open for 1 s: 5 of 5 requests failed")
    servers[0].ill = False
    # Sessions that go on for hours must not keep the verdict waiting: these end when the test does.
    kept: list[Wire] = []

    def closed() -> bool:
        kept.append(lb.dial())
        greeted(kept[-1])
        return "circuit breaker of server app/s0 is closed" in lb.program.output

    wait_until(closed, what="the breaker to close")
    assert all(echoed(client) for client in kept)


def test_trials_are_counted_over_all_workers(balancer: Balancers) -> None:
    """While three sessions are trying to begin, no other one may."""
    origin = Origin()
    breaker = {"errors": "50%", "min_requests": 5, "open": "500ms", "trials": 3, "trial_time": "10m"}
    lb = balancer(
        origin,
        frontend=TCP,
        backend={
            **TCP, "outlier": False, "retries": 0, "circuit_breaker": breaker, "tls": {"verify": False},
            "timeouts": {"connect": "10m"},
        },
        global_={"workers": 2},
    )  # fmt: skip
    clients = [lb.dial() for _ in range(5)]
    for _ in clients:
        origin.accept().reset()  # in the middle of the handshake: a connection that failed
    assert {client.ended() for client in clients} == {"fin"}
    lb.complained(r"circuit breaker of server app/s0 is open for 0.5 s: 5 of 5 requests failed")

    def trying() -> bool:
        clients.append(lb.dial())
        return bool(select.select([origin.sock], [], [], 0.1)[0])

    wait_until(trying, what="the first trial")
    clients += [lb.dial() for _ in range(24)]
    trials = [origin.accept() for _ in range(3)]
    wait_until(
        lambda: len([client for client in clients if client.silent(0.01)]) == 3, what="all others to be turned away"
    )
    assert origin.untouched()
    for trial in trials:
        trial.reset()
    lb.complained(r"circuit breaker of server app/s0 is open for 0.5 s: (2|3) of 3 trials failed")


def test_no_more_sessions_at_a_time_than_allowed_and_others_go_elsewhere(
    balancer: Balancers, servers: list[Greeter]
) -> None:
    lb = balancer(
        frontends={
            "web": {**TCP, "backend": "app"},
            "alone": {**TCP, "listen": f"127.0.0.1:{free_port()}", "backend": "alone"},
        },
        backends={
            "app": {
                **TCP, "servers": servers[0].address, "circuit_breaker": {"concurrency": 2},
                "overload": {"backend": "more"},
            },
            "more": {**TCP, "servers": servers[1].address},
            "alone": {**TCP, "servers": servers[2].address, "circuit_breaker": {"concurrency": 1}},
        },
        global_={"workers": 2},
    )  # fmt: skip
    clients = [lb.dial() for _ in range(5)]
    assert sorted(greeted(client) for client in clients) == ["s0", "s0", "s1", "s1", "s1"]
    one = lb.dial("alone")
    assert greeted(one) == "s2"
    assert lb.dial("alone").ended() == "fin"


def test_a_server_that_breaks_sessions_off_is_ejected(balancer: Balancers, servers: list[Greeter]) -> None:
    lb = balancer(
        *(s.address for s in servers), frontend=TCP, backend={**TCP, "balance": "round_robin", "outlier": True}
    )
    kept = [lb.dial() for _ in range(3)]
    assert sorted(map(greeted, kept)) == ["s0", "s1", "s2"]
    servers[1].ill = True
    wait_until(lambda: come(lb, 3) and "server app/s1 is EJECTED" in lb.program.output, what="the ejection")
    assert "" not in come(lb, 9)
    assert all(echoed(client) for client in kept)


def test_who_only_looks_whether_the_port_is_open_says_nothing_about_a_server(
    balancer: Balancers, servers: list[Greeter]
) -> None:
    """Clients that leave at once, and servers that end a session because their client did, are nobody's failure."""
    breaker = {"errors": "1%", "min_requests": 3}
    lb = balancer(
        servers[0].address,
        frontend=TCP,
        backend={**TCP, "circuit_breaker": breaker, "outlier": {"consecutive_failures": 1}},
    )
    for n in range(8):
        with lb.dial() as client:
            if n % 2:
                client.finish()
            else:
                client.reset()
    assert come(lb, 3) == ["s0"] * 3
    assert "is open" not in lb.program.output


def test_a_server_that_tires_of_a_silent_client_has_not_failed(balancer: Balancers, servers: list[Greeter]) -> None:
    """Browsers connect ahead of need. A server that ends such a session unasked has waited for longer than that."""
    origin = Origin()
    lb = balancer(
        origin,
        servers[0].address,
        frontend=TCP,
        backend={**TCP, "balance": "round_robin", "outlier": {"consecutive_failures": 1, "interval": "100ms"}},
    )
    client = lb.dial()
    server = origin.accept()
    assert client.silent(2.5)
    server.finish()
    assert client.ended() == "fin"
    client.close()
    assert come(lb) == ["s0"]
    assert lb.dial().send("x").silent(0.5)  # as long as the supervisor needs to look five times
    origin.accept()
    assert "EJECTED" not in lb.program.output


def test_a_reset_that_a_write_is_told_of_first(balancer: Balancers) -> None:
    """The client's words find the server's reset before anything is read: the session is broken off all the same."""
    origin = Origin()
    lb = balancer(
        origin,
        frontend=TCP,
        backend={**TCP, "outlier": False, "circuit_breaker": {"errors": "50%", "min_requests": 1, "open": "10m"}},
    )
    client = lb.dial().send("x")
    wire = origin.accept()
    assert wire.exactly(1) == b"x"
    os.kill(lb.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: Path(f"/proc/{lb.pid}/stat").read_text().rpartition(") ")[2][0] == "T", what="the stop")
        client.send("y")
        wire.reset()
    finally:
        os.kill(lb.pid, signal.SIGCONT)
    assert client.ended() == "reset"
    lb.complained(r"circuit breaker of server app/s0 is open for \S+ \S+: 1 of 1 requests failed")
