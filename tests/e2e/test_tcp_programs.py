"""Programs that speak their own protocols, through mode = "tcp": PostgreSQL, Redis, HTTP/2, and much data."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import Program, free_port, in_ci, need, open_to_others

from .balancer import Balancers
from .test_tcp import LINE, tcp
from .wire import Origin

SIZE = 64 << 20 if in_ci() else 1 << 30  # bytes each way


def run(*argv: str | Path, **environment: str) -> str:
    """Output of a program that must succeed."""
    got = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment}
    )
    assert got.returncode == 0, got.stdout + got.stderr
    return got.stdout


def of_postgresql(program: str) -> str:
    """Debian keeps the server's programs out of the way."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(places[-1]) if places else need(program, "postgresql")


def test_postgresql(balancer: Balancers, start: Callable[..., Program], tmp_path: Path) -> None:
    """psql, an error and its end; pgbench with parallel sessions and a connection a transaction."""
    psql, pgbench = need("psql", "postgresql"), need("pgbench", "postgresql")
    initdb, postgres = of_postgresql("initdb"), of_postgresql("postgres")
    # The server refuses to run as root.
    as_user = [need("runuser", "util-linux"), "-u", "postgres", "--"] if os.getuid() == 0 else []
    user = "postgres" if as_user else getpass.getuser()
    folder = tmp_path / "data"
    folder.mkdir()
    open_to_others(folder)
    if as_user:
        run("chown", "postgres", folder)
    run(*as_user, initdb, "-D", folder, "-A", "trust", "-N", "-U", user)
    port = free_port()
    server = start([*as_user, postgres, "-D", folder, "-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1"])
    server.wait_line("ready to accept connections", timeout=30)
    lb = tcp(balancer, f"127.0.0.1:{port}", backend={"health_check": {"interval": "500ms"}})
    where = {"PGHOST": "127.0.0.1", "PGPORT": str(lb.ports["web"]), "PGUSER": user, "PGDATABASE": "postgres"}
    assert run(psql, "-Atc", "select sum(i) from generate_series(1, 200000) i", **where) == "20000100000\n"
    rows = run(psql, "-Atc", "select repeat(md5(i::text), 100) from generate_series(1, 5000) i", **where)
    assert len(rows) == 5000 * 3201
    run(pgbench, "-i", "-q", "-s", "1", **where)
    for options in (["-c", "8", "-t", "50"], ["-C", "-c", "2", "-t", "20", "-S"]):
        out = run(pgbench, "-n", *options, **where)
        assert re.search(r"number of failed transactions: 0 ", out), out
    assert not any(m["term"] != "--" for m in map(LINE.search, lb.program.lines) if m)


def test_redis(balancer: Balancers, start: Callable[..., Program]) -> None:
    server, cli = need("redis-server"), need("redis-cli", "redis-tools")
    bench = need("redis-benchmark", "redis-tools")
    port = free_port()
    start([server, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]).wait_line("eady to accept connections")
    lb = tcp(balancer, f"127.0.0.1:{port}")
    to = ["-h", "127.0.0.1", "-p", str(lb.ports["web"])]
    value = "x" * 100_000
    assert run(cli, *to, "set", "k", value) == "OK\n"
    assert run(cli, *to, "get", "k") == value + "\n"
    out = run(bench, *to, "-q", "-n", "4000", "-c", "30", "-P", "8", "-t", "set,get,lrange_100", "-d", "300")
    assert "GET:" in out
    assert "rror" not in out
    out = run(bench, *to, "-q", "-n", "500", "-c", "10", "-k", "0", "-t", "ping_mbulk")  # a connection a request
    assert "rror" not in out


def test_http2_as_it_is(balancer: Balancers, start: Callable[..., Program], tmp_path: Path) -> None:
    """Prior knowledge, as gRPC has it: curl to nginx, a small answer and one of some megabytes under flow control."""
    curl, nginx = need("curl"), need("nginx", "nginx-light")
    port = free_port()
    (tmp_path / "big").write_text("".join(f"{i:09}\n" for i in range(400_000)))
    open_to_others(tmp_path)  # its worker is another user where nginx is started as root
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; server {{ listen 127.0.0.1:{port} http2; "
        f"location = /big {{ root {tmp_path}; }} location / {{ return 200 $server_protocol; }} }} }}\n"
    )
    start([nginx, "-p", tmp_path, "-c", tmp_path / "nginx.conf"]).wait_port(("127.0.0.1", port))
    lb = tcp(balancer, f"127.0.0.1:{port}")
    h2 = [curl, "-sS", "--http2-prior-knowledge"]
    assert run(*h2, f"{lb.url}/") == "HTTP/2.0"
    assert run(*h2, f"{lb.url}/big") == (tmp_path / "big").read_text()


@pytest.mark.parametrize("up", [True, False])
def test_much_data(balancer: Balancers, origin: Origin, up: bool) -> None:
    """Each way, with checksums on both ends."""
    lb = tcp(balancer, origin)
    client = lb.dial()
    wire = origin.accept()
    source, drain = (client.sock, wire.sock) if up else (wire.sock, client.sock)
    block = os.urandom(1 << 20)
    sent = hashlib.blake2b()

    def send() -> None:
        for number in range(SIZE >> 20):
            piece = number.to_bytes(8) + block[8:]
            sent.update(piece)
            source.sendall(piece)
        source.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    got, count = hashlib.blake2b(), 0
    room = bytearray(1 << 20)
    while n := drain.recv_into(room):
        got.update(memoryview(room)[:n])
        count += n
    sender.join()
    assert count == SIZE
    assert got.digest() == sent.digest()
