"""Many connections, few descriptors, hostile bytes and long use: nothing breaks, nothing leaks, memory stays."""

from __future__ import annotations

import gc
import random
import resource
import selectors
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

import fastlb.testing
from fastlb._core.debug import debug_build, live_objects
from tests.helpers import wait_until

from .balancer import MEMORY_COUNTS, Balancer, Balancers
from .servers import Answering
from .wire import BrokenOff, Origin

REQUEST = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


def all_answered(sockets: list[socket.socket]) -> None:
    """Sends a request on each and waits until each has its answer."""
    with selectors.DefaultSelector() as selector:
        for i, sock in enumerate(sockets):
            sock.send(REQUEST % i)
            selector.register(sock, selectors.EVENT_READ)
        left = len(sockets)
        while left:
            ready = selector.select(10)
            assert ready, f"{left} of {len(sockets)} without an answer"
            for key, _ in ready:
                got = key.fileobj.recv(4096)  # type: ignore[union-attr]
                assert got.startswith(b"HTTP/1.1 200 "), got[:200]
                selector.unregister(key.fileobj)
                left -= 1


@pytest.mark.slow
def test_10_000_idle_connections(balancer: Balancers) -> None:
    """Or as many as the limit of descriptors allows: this process holds one for each."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    n = min(10_000, limit - 300)
    if n < 10_000:
        print(f"only {n} connections: the limit of open files is {limit}")
    with Answering() as server:
        lb = balancer(
            server.address,
            backend={"pool": {"size": 100}},  # what is counted below are the clients
            global_={"workers": 2},
            log={"access": "off"},
            timeouts={"idle": "5m"},
        )
        warm = [lb.dial().sock for _ in range(200)]
        all_answered(warm)
        before = lb.memory()
        sockets = []
        try:
            for at in range(0, n, 500):  # no more at once than a queue of connections holds
                some = [socket.create_connection(lb.address) for _ in range(min(500, n - at))]
                sockets += some
                all_answered(some)
            grown = (lb.memory() - before) / n
            print(f"{n} idle connections, {grown:.0f} bytes each")
            assert grown < 512 or not MEMORY_COUNTS
            assert lb.descriptors() > n
            all_answered(random.Random(1).sample(sockets, 1000))
        finally:
            for sock in sockets:
                sock.close()
        wait_until(lambda: lb.descriptors() < 700, timeout=20, what="all connections closed")
        client = lb.dial().get("/after")
        assert client.response().status == 200


def test_max_connections_pause_accepting(balancer: Balancers) -> None:
    with Answering() as server:
        lb = balancer(server.address, frontend={"max_connections": 10})
        clients = [lb.dial().get(f"/{i}") for i in range(30)]
        for client in clients[:10]:
            assert client.response().status == 200
        assert all(client.silent(0.01) for client in clients[10:])  # they wait in the kernel's queue
        for i in range(20):  # each that leaves lets the next one in
            clients[i].close()
            assert clients[i + 10].response().status == 200
        assert "max_connections" in lb.complained("accepting pauses")


def test_few_descriptors_from_the_start(balancer: Balancers) -> None:
    with Answering() as server:
        lb = balancer(server.address, limit=100)
        clients = [lb.dial().get(f"/{i}") for i in range(60)]
        for client in clients:
            assert client.response().status == 200
            client.close()


@pytest.mark.parametrize("spare", [0, 1, 2, 5])
def test_descriptors_run_out(balancer: Balancers, spare: int) -> None:
    """The limit sinks below what is open, then below what the next requests need, then rises again."""
    with Answering() as server:
        steps = dict.fromkeys(("close", "shed", "refuse", "reset"), 0)  # else the kept connection is given up
        lb = balancer(server.address, global_={"workers": 0, "max_connections": 1000}, overload=steps)
        kept = lb.dial().get("/kept")
        assert kept.response().status == 200
        hard = resource.prlimit(lb.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(lb.pid, resource.RLIMIT_NOFILE, (lb.descriptors() + spare, hard))
        waiting = [lb.dial().get(f"/{i}") for i in range(12)]
        for i in range(3):  # who is there is served, on the idle connection to the server
            kept.get(f"/kept{i}")
            assert kept.response().status in (200, 503)
        resource.prlimit(lb.pid, resource.RLIMIT_NOFILE, (hard, hard))
        for client in waiting:  # who had to wait is served now; who got in without a descriptor left was told so
            assert client.response().status in (200, 503)
        client = lb.dial().get("/after")
        assert client.response().status == 200
        assert lb.complained("accepting pauses: out of descriptors|no descriptor or memory for a server")


# --- hostile bytes

GOOD = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"PUT / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
)


def mutated(rng: random.Random) -> bytes:
    """A request that was sound, or several, damaged in a few places; or plain noise."""
    if rng.random() < 0.15:
        return rng.randbytes(rng.randrange(1, 3000))
    raw = bytearray(b"".join(rng.choice(GOOD) for _ in range(rng.randrange(1, 5))))
    for _ in range(rng.randrange(0, 5)):
        at = rng.randrange(len(raw))
        match rng.randrange(4):
            case 0:
                raw[at] = rng.randrange(256)
            case 1:
                del raw[at : at + rng.randrange(1, 20)]
            case 2:
                raw[at:at] = rng.choice([b"\r\n", b"\n", b"\0", b":", b" ", b"\x7f", b"9" * 30, b"A" * 5000])
            case 3:
                raw[at:at] = raw[: rng.randrange(len(raw))]
        if not raw:
            return b"\r\n"
    return bytes(raw)


@pytest.mark.parametrize("side", ["clients", "servers"])
def test_garbage(balancer: Balancers, side: str) -> None:
    """Whatever is thrown at it from either side, it neither ends nor stops to serve."""
    rng = random.Random(20240)
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ]

    def handler(request: object) -> bytes:
        if side == "clients":
            return b"ok"
        raw = bytearray(rng.choice(answers))
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(9, len(raw))] = rng.randrange(256)
        return bytes(raw)

    with Answering(handler) as server:
        lb = balancer(server.address, timeouts={"client": "1s", "header": "1s", "server": "500ms", "tunnel": "500ms"})
        before = lb.descriptors()

        def attack(seed: int) -> None:
            mine = random.Random(seed)
            for _ in range(40):
                sock = socket.create_connection(lb.address)
                try:
                    raw = mutated(mine) if side == "clients" else mine.choice(GOOD)
                    size = mine.choice([1, 7, 100, 10_000])
                    for at in range(0, min(len(raw), size * 50), size):
                        sock.send(raw[at : at + size])
                    if mine.random() < 0.5:
                        sock.settimeout(mine.choice([0.005, 0.05]))
                        sock.recv(65536)
                except OSError:
                    pass  # refused, reset, or nothing came: as it likes
                finally:
                    sock.close()

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(attack, range(16)))
        server.handler = lambda request: b"ok"
        client = lb.dial().get("/after")
        assert client.response().status == 200
        client.close()
        wait_until(lambda: lb.descriptors() <= before + 130, what="connections closed, but for the idle ones")
        assert lb.program.process.poll() is None


# --- long use


def churn(lb: Balancer, rounds: int) -> None:
    """Connections that come and go in every way."""
    for i in range(rounds):
        client = lb.dial()
        kind = i % 8
        if kind == 0:
            client.get("/").response()
        elif kind == 1:
            client.get("/", "Connection: close").response()
        elif kind == 2:
            client.post("/", b"x" * 20_000).response()
        elif kind == 3:
            client.get("/").close()
        elif kind == 4:
            client.send("GET / HTTP/1.1\r\nHo").reset()
        elif kind == 5:
            client.send("nonsense\r\n\r\n").response()
        elif kind == 6:
            for _ in range(3):
                client.get("/large")
            assert [len(client.response().body) for _ in range(3)] == [100_000] * 3
        else:
            client.get("/large").head()
            client.reset()
        client.close()


@pytest.mark.slow
def test_churn_leaks_nothing(balancer: Balancers) -> None:
    body = b"x" * 100_000
    with Answering(lambda request: body if request.target == "/large" else b"ok") as server:
        lb = balancer(server.address, log={"access": "off", "level": "error"})
        churn(lb, 400)
        descriptors, memory = lb.descriptors(), []
        for _ in range(5):
            churn(lb, 400)
            memory.append(lb.memory())
        lb.settled(descriptors + 10)
        grown = memory[-1] - memory[0]
        assert grown < 400_000 or not MEMORY_COUNTS, f"resident bytes after each round: {memory}"


@pytest.mark.skipif(not debug_build(), reason="only a debug build (FASTLB_DEBUG=1) counts its objects")
def test_no_object_outlives_the_engine() -> None:
    """In this process, where the counters can be read; with connections of every state open when it closes."""
    assert not any(live_objects().values())
    body = b"x" * 100_000
    origin = Origin()
    with Answering(lambda request: body if request.target == "/large" else b"ok") as server:
        config = {
            "log": {"access": "off", "level": "error"},
            "timeouts": {"drain": "100ms"},
            "frontends": {
                "web": {"listen": "127.0.0.1:0", "backend": "app", "routes": [{"path": "/held/*", "backend": "held"}]}
            },
            "backends": {
                "app": {"servers": [server.address]},
                "held": {"servers": [origin.address], "max_connections": 4},
            },
        }
        with fastlb.testing.Balancer(config) as inner:
            lb = InProcess(inner)
            churn(lb, 160)  # type: ignore[arg-type]
            lb.dial().get("/").response()  # idle
            lb.dial().send("GET / HTTP/1.1\r\nHo")  # a partial head
            lb.dial().get("/held/waiting")
            origin.request()
            lb.dial().send("POST /held/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
            origin.accept().head()
            held = lb.dial().get("/held/answer")
            wire, _ = origin.request()
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            held.head()
            upgraded = lb.dial().get("/held/tunnel", "Connection: upgrade", "Upgrade: websocket")
            wire, _ = origin.request()
            wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            upgraded.head()
            queued = lb.dial().get("/held/queued")
            assert queued.silent(0.05)
            unread = lb.dial(receive_buffer=4096)
            unread.send(*(REQUEST.replace(b"%d", b"large") for _ in range(50)))
            assert not unread.silent(1)
            assert live_objects()["client"] >= 7
        gc.collect()
        assert not any(live_objects().values()), live_objects()
        for end in (held, upgraded, queued):
            with pytest.raises((BrokenOff, AssertionError)):
                end.exactly(10_000)


class InProcess:
    """The part of `Balancer` that `churn` uses."""

    def __init__(self, inner: fastlb.testing.Balancer) -> None:
        self._inner = inner

    def dial(self, **options: int):  # type: ignore[no-untyped-def]
        from .wire import dial

        host, port = self._inner.address
        return dial((str(host), int(port)), **options)
