"""Connections of all kinds that are accepted in one turn of the loop, beside others that are busy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastlb.bench.cells import request
from tests.admin.conftest import Api
from tests.helpers import SLOWNESS

from .balancer import Balancer, Balancers
from .test_tunnel import ASK, SWITCH
from .wire import Message, Origin, Wire

LARGE = b"x" * 30_000_000  # more than the sockets between hold
BUSY = 6  # connections with something to say in the same turn


@contextmanager
def one_turn(lb: Balancer, server: Origin) -> Iterator[None]:
    """What clients do within waits for the engine in one batch of events, with those of busy connections."""
    busy = [lb.dial() for _ in range(BUSY)]
    for one in busy:
        one.get("/busy")
        server.request()[0].answer("first")
        assert one.response().text == "first"
    pid = lb.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        for one in busy:
            one.get("/busy")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def asked(server: Origin, count: int) -> dict[str, tuple[Wire, Message]]:
    """The next requests but the busy ones, by target; those are answered."""
    found: dict[str, tuple[Wire, Message]] = {}
    for _ in range(BUSY + count):
        wire, request = server.request()
        if request.target == "/busy":
            wire.answer("again")
        else:
            found[request.target] = wire, request
    assert len(found) == count
    return found


def test_each_gets_its_due(plain: Balancer, server: Origin) -> None:
    with one_turn(plain, server):
        stays = plain.dial().get("/stays")
        asks = plain.dial().get("/closes", "Connection: close")
        old = plain.dial().get("/old", version="1.0")
        reads = plain.dial(receive_buffer=4096).get("/large")
        talks = plain.dial().send(ASK)
        sends = plain.dial().send("POST /sends HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n", "ab")
        slow = plain.dial().send("GET /slow HTTP/1.1\r\n")
    sends.send("cd")
    at = asked(server, 6)  # the slow one has not said all
    wire, _ = at["/stays"]
    wire.answer("one")
    assert stays.response().text == "one"
    stays.get("/stays-on")
    server.request()[0].answer("two")
    assert stays.response().text == "two"
    for client, target in ((asks, "/closes"), (old, "/old")):
        at[target][0].answer("last")
        assert client.response().text == "last"
        assert client.ended() == "fin"
    sending = threading.Thread(target=at["/large"][0].answer, args=(LARGE,))
    sending.start()
    assert len(reads.response().body) == len(LARGE)
    sending.join()
    wire, _ = at["/chat"]
    wire.send(SWITCH)
    assert talks.head().status == 101
    talks.send("there")
    assert wire.exactly(5) == b"there"
    wire.send("and back")
    assert talks.exactly(8) == b"and back"
    wire, request = at["/sends"]
    assert request.body == b"abcd"
    wire.answer("sent")
    assert sends.response().text == "sent"
    slow.send("Host: x\r\n\r\n")
    server.request()[0].answer("slow")
    assert slow.response().text == "slow"


def test_who_leaves_is_noticed(plain: Balancer, server: Origin) -> None:
    with one_turn(plain, server):
        breaks = plain.dial().get("/breaks")
        waits = plain.dial().get("/waits")
    at = asked(server, 2)
    breaks.reset()
    assert at["/breaks"][0].ended() == "reset"
    assert plain.logged("/breaks").term == "CH--"
    waits.close()
    assert at["/waits"][0].ended() == "reset"
    assert plain.logged("/waits").term == "CH--"


def test_all_that_is_said_and_half_closed(plain: Balancer, server: Origin) -> None:
    with one_turn(plain, server):
        client = plain.dial().get("/x").finish()
    wire, _ = asked(server, 1)["/x"]
    wire.answer("ok")
    assert client.response().text == "ok"
    assert client.ended() == "fin"


def test_it_is_the_last_request_and_more_comes(plain: Balancer, server: Origin) -> None:
    """Bytes behind a request that closes are not answered, and do not cost the client its answer."""
    with one_turn(plain, server):
        clients = [plain.dial().get(f"/{n}", "Connection: close") for n in range(4)]
    at = asked(server, len(clients))
    for number, client in enumerate(clients):
        client.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        at[f"/{number}"][0].answer("answered")
        assert client.response().text == "answered"


def test_a_kept_connection_that_breaks_unnoticed(balancer: Balancers, server: Origin) -> None:
    """The server's reset is an event behind more than one batch of others, and the request meets it first."""
    lb = balancer(server, frontend={"routes": [{"path": "/here", "redirect": "/there"}]})
    client = lb.dial().get("/before")
    wire, _ = server.request()
    wire.answer("x")
    assert client.response().text == "x"
    others = [lb.dial() for _ in range(300)]
    for one in others:
        assert one.get("/here").response().status in (301, 302, 307, 308)
    os.kill(lb.pid, signal.SIGSTOP)
    try:
        client.get("/after")
        for one in others:
            one.send("G")
        wire.reset()
    finally:
        os.kill(lb.pid, signal.SIGCONT)
    wire, request = server.request()
    assert request.target == "/after"
    wire.answer("y")
    assert client.response().text == "y"


def test_the_rest_of_a_worker_gets_its_turn(balancer: Balancers, tmp_path: Path) -> None:
    """One client that asks again as soon as it is answered is waited for in the engine: that has to end meanwhile.

    The connections that there are a worker tells beside the engine's work; one that does not is left out after 2 s.
    """
    routes = [{"path": "/", "redirect": "/there"}]
    admin = {"socket": str(tmp_path / "admin")}
    lb = balancer("127.0.0.1:9", frontend={"routes": routes}, global_={"workers": 1}, admin=admin)
    plan = {"port": lb.ports["web"], "request": request("/again").hex(), "connections": 1, "close": False, "tls": ""}
    plan |= {"upgrade": "", "expect": 0, "resume": False, "rate": 0, "core": max(os.sched_getaffinity(0))}
    argv = [sys.executable, "-m", "fastlb.bench.drive"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None and client.stdout is not None
        try:
            print(json.dumps(plan), file=client.stdin, flush=True)
            assert client.stdout.readline() == "1\n"
            print(60 * SLOWNESS, file=client.stdin, flush=True)  # seconds
            api = Api(str(tmp_path / "admin"))
            for _ in range(5):
                assert json.loads(api.text("/v1/connections"))["connections"]
            assert client.poll() is None
        finally:
            client.kill()
