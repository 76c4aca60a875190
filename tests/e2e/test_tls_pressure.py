"""Handshakes in numbers: the limit of their rate, clients that leave before their turn, and who is established."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.helpers import free_port, wait_until

from .balancer import Balancer, Balancers
from .test_tls_observed import context, counts, hello
from .test_tls_options import OK
from .test_tls_renewal import Api
from .wire import PATIENCE

BURST = 8  # that a rate lets through at once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pressure")


@pytest.fixture(scope="module")
def lb(shared_balancer: Balancers, folder: Path) -> Balancer:
    """`web` begins one handshake a second, in one worker."""
    Authority("Pressure").issue(folder / "site.pem", "a.test")
    tls = {"cert": str(folder / "site.pem"), "handshake_timeout": "60s"}
    slow = {"address": f"127.0.0.1:{free_port()}", "tls": tls | {"handshake_rate": "1/s"}}
    free = {"address": f"127.0.0.1:{free_port()}", "tls": tls}
    return shared_balancer(
        frontend={"listen": [slow], "timeouts": {"header": "60s"}, **OK},
        frontends={"free": {"listen": [free], **OK}},
        admin={"socket": str(folder / "admin.sock")},
    )


@pytest.fixture
def api(lb: Balancer, folder: Path) -> Iterator[Api]:
    with contextlib.closing(Api(folder / "admin.sock")) as one:
        yield one


def ask(s: ssl.SSLSocket) -> None:
    s.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    got = b""
    while not got.endswith(b"\r\n\r\nok"):
        data = s.recv(4096)
        assert data, got
        got += data


def connect(port: int) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    return context().wrap_socket(plain, server_hostname="a.test")


def test_what_is_over_the_rate_waits_and_may_leave(lb: Balancer, api: Api) -> None:
    began = time.monotonic()
    waiting = []
    with connect(lb.ports["web"]) as established, connect(lb.ports["free"]) as other:
        descriptors = lb.descriptors()
        for _ in range(40):
            s = socket.create_connection(("127.0.0.1", lb.ports["web"]), timeout=PATIENCE)
            s.sendall(hello())
            waiting.append(s)
        # Those whose turn has come have the server's part of the handshake.
        answered = 0
        for s in waiting[: BURST - 1]:
            assert s.recv(1)
            answered += 1
        # Who is established, here or elsewhere, waits for nobody; nor does a handshake with another listener.
        for _ in range(50):
            ask(established)
            ask(other)
        connect(lb.ports["free"]).close()
        for s in waiting:
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                answered += bool(s.recv(1)) and s not in waiting[: BURST - 1]
        allowed = BURST + 1 + (time.monotonic() - began)
        assert answered + 1 <= allowed
        assert answered < len(waiting) or allowed > 40
        for s in waiting:
            s.close()
        # They are gone before their turn comes: nothing is begun for them.
        wait_until(lambda: lb.descriptors() <= descriptors, what="the descriptors of clients that left")
        ask(established)
    assert counts(api, "web")["handshakes full"] == 1


def test_a_client_that_stops_in_the_middle_delays_nobody(lb: Balancer) -> None:
    with contextlib.ExitStack() as stack:
        for cut in range(0, 200, 10):
            s = stack.enter_context(socket.create_connection(("127.0.0.1", lb.ports["free"]), timeout=PATIENCE))
            s.sendall(hello()[:cut])
        for _ in range(5):
            with connect(lb.ports["free"]) as one:
                ask(one)
