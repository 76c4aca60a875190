"""mode = "tcp": sessions passed on as they are, step by step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import free_port, wait_until

from .balancer import Balancer, Balancers
from .servers import still
from .test_tls import certificate, connect
from .wire import BrokenOff, Origin, Wire, dial

TCP = {"mode": "tcp"}
LINE = re.compile(
    r"\S*:\d+ \[\S+\] (?P<frontend>\S+) (?P<backend>\S+)/(?P<server>\S+) (?P<tw>-?\d+)/(?P<tc>-?\d+)/(?P<tt>\d+) "
    r"(?P<bytes>\d+) (?P<term>[A-Za-z-]{2}) \d+/\d+/\d+/\d+/(?P<retries>\+?\d+) \d+/(?P<queue>\d+)$"
)


def tcp(balancer: Balancers, *servers: Any, **parts: Any) -> Balancer:
    """A balancer whose frontend and backend are of mode tcp."""
    return balancer(
        *servers,
        **{**parts, "frontend": {**TCP, **parts.get("frontend", {})}, "backend": {**TCP, **parts.get("backend", {})}},
    )


def line(lb: Balancer, start: int = 0) -> re.Match[str]:
    """The first line of the access log, which is that of HAProxy's option tcplog, after so many of output; awaited."""
    return lb.program.wait_line(LINE.pattern, start=start)


@pytest.fixture(scope="module")
def shared(shared_balancer: Balancers, server: Origin) -> Balancer:
    return tcp(shared_balancer, server)


@pytest.fixture
def session(shared: Balancer, server: Origin) -> tuple[Wire, Wire]:
    """Both ends of a session."""
    server.forget()
    client = shared.dial()
    return client, server.accept()


def test_bytes_go_both_ways(session: tuple[Wire, Wire]) -> None:
    client, wire = session
    for i in range(3):
        client.send(f"c{i}\0\r\n\r\n")
        assert wire.exactly(7) == f"c{i}\0\r\n\r\n".encode()
        wire.send(f"s{i}")
        assert client.exactly(2) == f"s{i}".encode()


def test_server_speaks_first(session: tuple[Wire, Wire]) -> None:
    client, wire = session
    wire.send("220 hello\r\n")
    assert client.until(b"\n") == b"220 hello\r\n"


def test_half_close_is_carried_across(session: tuple[Wire, Wire]) -> None:
    client, wire = session
    client.send("last words").finish()
    assert wire.rest() == b"last words"
    wire.send("answer " * 10_000)
    assert client.exactly(70_000) == b"answer " * 10_000
    wire.close()
    assert client.ended() == "fin"


def test_server_ends_first(session: tuple[Wire, Wire]) -> None:
    client, wire = session
    wire.send("bye").finish()
    assert client.rest() == b"bye"
    client.send("bye too")
    assert wire.exactly(7) == b"bye too"
    client.close()
    assert wire.ended() == "fin"


def test_reset_is_carried_across(shared: Balancer, server: Origin) -> None:
    server.forget()
    client, wire = shared.dial().send("x"), server.accept()
    assert wire.exactly(1) == b"x"  # a reset before the connection is noticed would be a failed connect
    wire.reset()
    assert client.ended() == "reset"
    client, wire = shared.dial(), server.accept()
    client.reset()
    assert wire.ended() == "reset"


def test_last_words_of_a_server_that_takes_no_more(shared: Balancer, server: Origin) -> None:
    """It answers and closes while the client still sends, as SMTP servers do."""
    server.forget()
    for _ in range(5):
        client, wire = shared.dial(), server.accept()
        wire.send("421 go away\r\n").finish()
        assert client.until(b"\n") == b"421 go away\r\n"
        wire.close()
        client.send("x" * 100)  # answered with a reset, behind the last words
        client.send("y" * 100)
        assert client.ended() in ("fin", "reset")


@pytest.mark.parametrize("up", [True, False])
def test_megabytes_arrive_as_they_were(session: tuple[Wire, Wire], up: bool) -> None:
    source, drain = session if up else session[::-1]
    data = random.Random(7).randbytes(1 << 20) * 24
    sender = threading.Thread(target=lambda: source.send(data).finish())
    sender.start()
    got = hashlib.sha256(drain.rest()).hexdigest()
    sender.join()
    assert got == hashlib.sha256(data).hexdigest()


def test_last_bytes_survive_a_slow_reader(balancer: Balancers) -> None:
    """All is in buffers of the kernel when both sides have ended: closing must not destroy it."""
    origin = Origin(receive_buffer=4096)
    lb = tcp(balancer, origin)
    client, wire = lb.dial(), origin.accept()
    wire.finish()
    assert client.rest() == b""
    client.send("z" * 200_000).finish()
    assert len(line(lb)["term"]) == 2  # over for the balancer
    assert len(wire.rest()) == 200_000


def test_fast_side_is_held_back(balancer: Balancers) -> None:
    origin = Origin(receive_buffer=8192)
    lb = tcp(balancer, origin)
    client, wire = lb.dial(), origin.accept()
    before = lb.memory()
    sender = threading.Thread(target=client.send, args=(b"x" * 40_000_000,))
    sender.start()
    sender.join(0.5)
    assert sender.is_alive(), "more was taken than the buffers of the kernel hold"
    assert lb.memory() - before < 2_000_000
    assert len(wire.exactly(40_000_000)) == 40_000_000
    sender.join()


def test_another_server_when_the_connect_fails(balancer: Balancers, origin: Origin) -> None:
    gone = Origin()
    gone.shut()
    lb = tcp(balancer, gone, origin, backend={"balance": "first"})
    client = lb.dial().send("early bytes are not lost")
    wire = origin.accept()
    assert wire.exactly(24) == b"early bytes are not lost"
    wire.close()
    client.close()
    got = line(lb)
    assert (got["server"], got["retries"], got["term"], got["bytes"]) == ("s1", "+1", "--", "0")


def test_nobody_takes_the_connection(balancer: Balancers) -> None:
    gone = Origin()
    gone.shut()
    lb = tcp(balancer, gone)
    client = lb.dial()
    assert client.ended() in ("fin", "reset")
    got = line(lb)
    assert (got["server"], got["term"], got["tc"]) == ("s0", "SC", "-1")
    lb.complained("connection to server failed")


def test_backup_takes_over(balancer: Balancers) -> None:
    first, spare = Origin(), Origin()
    check = {"type": "tcp", "interval": "50ms", "fall": 1, "rise": 1}
    lb = tcp(
        balancer,
        {"name": "s0", "address": first.address},
        {"name": "s1", "address": spare.address, "backup": True},
        backend={"health_check": check, "retries": 0},
    )
    lb.dial().send("one")
    assert _first_bytes(first) == b"one"
    first.shut()
    lb.program.wait_line("s0 is DOWN")
    lb.dial().send("two")
    assert _first_bytes(spare) == b"two"


def _first_bytes(origin: Origin) -> bytes:
    """Of the first connection that sends any: health checks send none."""
    while True:
        with contextlib.suppress(BrokenOff):
            return origin.accept().exactly(3)


def test_queue_when_servers_are_full(balancer: Balancers, origin: Origin) -> None:
    lb = tcp(balancer, origin, backend={"max_connections": 1, "max_queue": 1}, timeouts={"queue": "10s"})
    one = lb.dial().send("1")
    wire = origin.accept()
    assert wire.exactly(1) == b"1"
    two = lb.dial().send("2")
    still(lambda: origin.untouched())
    three = lb.dial()
    assert three.ended() == "fin"
    assert line(lb)["term"] == "SQ"
    one.close()
    wire.close()
    assert origin.accept().exactly(1) == b"2"
    two.close()


def test_queue_ends_in_time(balancer: Balancers, origin: Origin) -> None:
    lb = tcp(balancer, origin, backend={"max_connections": 1}, timeouts={"queue": "200ms"})
    lb.dial()
    origin.accept()
    assert lb.dial().ended() == "fin"
    got = line(lb)
    assert (got["term"], got["server"]) == ("sQ", "<NOSRV>")
    assert int(got["tw"]) >= 190


def test_idle_and_half_closed_sessions_end(balancer: Balancers, origin: Origin) -> None:
    lb = tcp(balancer, origin, timeouts={"tunnel": "600ms", "half_closed": "200ms", "client": "50ms"})
    client, wire = lb.dial(), origin.accept()
    for _ in range(3):  # longer in all than the time
        assert client.silent(0.25)
        wire.send("x")
        assert client.exactly(1) == b"x"
    assert client.ended() == "fin"
    assert wire.ended() in ("fin", "reset")
    assert line(lb)["term"] == "cD"
    start = len(lb.program.lines)
    client, wire = lb.dial(), origin.accept()
    client.finish()
    assert wire.rest() == b""
    assert client.ended() == "fin"
    assert int(line(lb, start)["tt"]) < 600


def test_unix_sockets_on_both_sides(balancer: Balancers, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "server"))
        listener.listen()
        lb = tcp(balancer, f"unix:{tmp_path}/server", frontend={"listen": f"unix:{tmp_path}/front"})
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(tmp_path / "front"))
        with Wire(sock) as client, Wire(listener.accept()[0]) as wire:
            client.send("ping").finish()
            assert wire.rest() == b"ping"
            wire.send("pong").finish()
            assert client.rest() == b"pong"
    assert line(lb)["server"] == "s0"


def test_tls_ends_at_the_listener(balancer: Balancers, origin: Origin, tmp_path: Path) -> None:
    certificate(tmp_path, "a", "localhost")
    files = {"cert": str(tmp_path / "a.pem"), "key": str(tmp_path / "a.key"), "handshake_timeout": "400ms"}
    listen = {"address": f"127.0.0.1:{free_port()}", "tls": files}
    lb = tcp(balancer, origin, frontend={"listen": [listen]})
    with connect(lb) as client:
        wire = origin.accept()
        wire.send("server first")  # no byte of the client needed
        assert client.recv(100) == b"server first"
        client.sendall(b"q" * 300_000)
        assert wire.exactly(300_000) == b"q" * 300_000
    assert wire.ended() == "fin"
    wire.close()
    assert line(lb)["term"] == "--"
    start = len(lb.program.lines)
    with connect(lb) as client:
        wire = origin.accept()
        wire.send("half").finish()
        assert client.recv(100) == b"half"
        assert client.recv(100) == b""  # close_notify
        client.sendall(b"the other half")
        assert wire.exactly(14) == b"the other half"
        wire.close()
    assert line(lb, start)["term"] == "--"
    start = len(lb.program.lines)
    silent = lb.dial()
    assert silent.ended() == "fin"
    assert line(lb, start)["term"] == "cR"
    assert origin.untouched()
    start = len(lb.program.lines)
    plain = lb.dial().send("GET / HTTP/1.0\r\n\r\n")
    plain.sock.recv(100)  # an alert, or the end
    assert line(lb, start)["term"] == "PR"


def test_key_is_the_source(balancer: Balancers) -> None:
    origins = [Origin(), Origin(), Origin()]
    lb = tcp(balancer, *origins, backend={"balance": {"algorithm": "consistent_hash", "key": "ip"}})
    chosen: set[int] = set()
    for number in range(12):
        source = f"127.0.0.{number + 2}"
        places: set[int] = set()
        for _ in range(3):
            with dial(lb.address, source=source):
                places |= set(wait_until(lambda: [i for i, one in enumerate(origins) if not one.untouched()]))
        assert len(places) == 1
        chosen |= places
    assert len(chosen) > 1


def test_json_log(balancer: Balancers, origin: Origin) -> None:
    lb = tcp(balancer, origin, log={"format": "json"})
    with lb.dial() as client:
        wire = origin.accept()
        client.send("12345")
        assert wire.exactly(5) == b"12345"
        wire.send("1234567").close()
        assert client.rest() == b"1234567"
    got = json.loads(lb.program.wait_line(r'^\{"time"').string)
    assert (got["scheme"], got["server"], got["bytes_in"], got["bytes_out"]) == ("tcp", "s0", 5, 7)
    assert not {"status", "method", "target", "protocol"} & set(got)


def test_limits_of_connections(balancer: Balancers, origin: Origin) -> None:
    """A rate by source address, and a number of clients: who is over the number waits in the kernel."""
    limit = {"rate": "2/m", "burst": 1, "key": "ip"}
    lb = tcp(balancer, origin, frontend={"rate_limits": [limit], "max_connections": 1})
    with lb.dial(source="127.0.0.5"), origin.accept():
        other = lb.dial(source="127.0.0.6")
        assert still(origin.untouched)
    origin.accept().close()
    other.close()
    with lb.dial(source="127.0.0.5"), origin.accept():
        pass
    assert lb.dial(source="127.0.0.5").ended() == "fin"
    lb.complained("rate limit")
