"""Bandwidth: docs/bandwidth.md, with real processes. A clock can show that bytes were too fast, never the opposite."""

from __future__ import annotations

import random
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.admin.conftest import Api
from tests.certificates import Authority
from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.secure import SecureWire
from tests.e2e.servers import Answering
from tests.e2e.wire import PATIENCE, Message, Origin
from tests.helpers import free_port

RATE = 40 * 1024  # bytes a second, of all limits here
AT_ONCE = 0.25  # seconds' worth that may come at once


def body(request: Message) -> bytes:
    return b"x" * int(request.target.rpartition("/")[2])


@pytest.fixture(scope="module")
def server() -> Iterator[Answering]:
    with Answering(body) as one:
        yield one


@pytest.fixture(scope="module")
def played() -> Iterator[Origin]:
    """A server whose every step the test takes itself."""
    one = Origin(keep=True)
    yield one
    one.shut()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "site.pem"
    Authority("Site").issue(file, "a.test")
    return file


@pytest.fixture(scope="module")
def lb(shared_balancer: Balancers, server: Answering, played: Origin, certificate: Path) -> Balancer:
    """Two workers; a frontend for each way to be limited."""
    ways: dict[str, dict[str, Any]] = {
        "web": {"bandwidth": {"response": "40KB/s", "response_after": "20KB"}},
        "up": {"backend": "played", "bandwidth": {"request": "40KB/s"}, "timeouts": {"client": "250ms"}},
        "all": {"bandwidth": {"response": "40KB/s", "key": []}},
        "user": {"routes": [{"path": "/of/*", "backend": "app",
                             "bandwidth": {"response": "40KB/s", "key": "header:X-User"}}]},
        "slow": {"backend": "limited"},
        "lan": {"bandwidth": {"response": "1KB/s", "exempt": "127.0.0.0/8"}},
        "tls": {"listen": [{"address": f"127.0.0.1:{free_port()}", "tls": {"cert": str(certificate)}}],
                "backend": "played", "bandwidth": {"request": "40KB/s", "response": "400KB/s"}},
        "tcp": {"mode": "tcp", "backend": "sessions", "bandwidth": "40KB/s"},
    }  # fmt: skip
    admin = free_port()
    lb = shared_balancer(
        server.address,
        global_={"workers": 2},
        admin={"listen": f"127.0.0.1:{admin}"},
        frontends={name: {"backend": "app", "listen": f"127.0.0.1:{free_port()}", **way} for name, way in ways.items()},
        backends={
            "limited": {"servers": [server.address], "bandwidth": "40KB/s"},
            "sessions": {"mode": "tcp", "servers": [server.address]},
            "played": {"servers": [played.address]},
        },
    )
    lb.ports["admin"] = admin
    return lb


@contextmanager
def at_least(limited: int) -> Iterator[None]:
    """So many bytes are held to the rate meanwhile."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began > limited / RATE - AT_ONCE


def test_each_response_has_the_rate_after_its_first_bytes(lb: Balancer) -> None:
    with lb.dial() as c:
        assert len(c.get("/20000").response().body) == 20_000
        for _ in range(2):
            with at_least(40_000):
                assert len(c.get("/60000").response().body) == 60_000


def test_requests_have_a_rate_too_and_who_waits_for_it_is_not_late(lb: Balancer, played: Origin) -> None:
    """The body that comes with the head is paid for by what follows, here for longer than timeouts.client."""
    with lb.dial("up") as c, at_least(40_000):
        c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n", b"y" * 30_000)
        with played.accept() as s:
            s.head()
            s.exactly(30_000)
            c.send(b"z" * 10_000)
            s.exactly(10_000)
            s.answer(b"thanks")
            assert c.response().text == "thanks"


def test_a_rate_is_shared_over_all_workers(lb: Balancer) -> None:
    clients = [lb.dial("all") for _ in range(8)]
    with at_least(60_000):
        for c in clients:
            c.get("/7500")
        assert [len(c.response().body) for c in clients] == [7_500] * 8


def test_a_rate_is_shared_by_who_has_the_same_key(lb: Balancer) -> None:
    """Three of one user; a request without the header, and one of another route, are not held to it."""
    with at_least(45_000):
        clients = [lb.dial("user").get("/of/15000", "X-User: a") for _ in range(3)]
        with lb.dial("user") as c:
            began = time.monotonic()
            assert len(c.get("/of/4000000").response().body) == 4_000_000
            assert len(c.get("/4000000").response().body) == 4_000_000
            assert time.monotonic() - began < 60  # at the rate three minutes
        assert [len(c.response().body) for c in clients] == [15_000] * 3


def test_a_backend_can_have_a_rate(lb: Balancer) -> None:
    with lb.dial("slow") as c, at_least(40_000):
        assert len(c.get("/40000").response().body) == 40_000


def test_networks_can_be_exempt(lb: Balancer) -> None:
    with lb.dial("lan") as c:
        assert len(c.get("/4000000").response().body) == 4_000_000  # at the rate an hour


def test_bytes_under_tls_have_the_rate_and_stay_what_they_are(lb: Balancer, played: Origin) -> None:
    """Records of 16 KB are read in runs that are shorter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    data = random.Random(1).randbytes(50_000)
    plain = socket.create_connection(("127.0.0.1", lb.ports["tls"]), timeout=PATIENCE)
    with SecureWire(plain, context, server=False, name="a.test") as c:
        c.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n")
        with played.accept() as s:
            s.head()
            with at_least(50_000):
                c.send(data)
                assert s.exactly(50_000) == data
            s.answer(data)
            assert c.response().body == data


def test_sessions_have_a_rate(lb: Balancer) -> None:
    with lb.dial("tcp") as c, at_least(40_000):
        assert len(c.get("/40000").response().body) == 40_000


def test_waits_are_counted(lb: Balancer) -> None:
    def counted(name: str) -> dict[str, float]:
        text = Api(("127.0.0.1", lb.ports["admin"])).text("/metrics")
        found = re.findall(rf'^fastlb_frontend_bandwidth_{name}\{{proxy="(\w+)"\}} (\S+)', text, re.MULTILINE)
        return {proxy: float(value) for proxy, value in found}

    before = counted("waits_total"), counted("wait_seconds_total")
    with lb.dial("slow") as c:
        c.get("/30000").response()
    after = counted("waits_total"), counted("wait_seconds_total")
    assert after[0]["slow"] == before[0]["slow"] + 1
    assert after[1]["slow"] > before[1]["slow"] + 0.3
    assert after[0]["lan"] == 0
