"""HAProxy's own lines, taken from the program: described as a record, each must come out as the same bytes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.engine.log_samples import HTTPLOG, write
from tests.helpers import SLOWNESS, Program, free_port, need

CONFIGURATION = """
global
    log 127.0.0.1:{log} local0
defaults
    mode http
    log global
    option httplog
    option redispatch 1
    option accept-invalid-http-request
    retries 2
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    timeout http-request 300ms
frontend web
    bind 127.0.0.1:{port}
    use_backend gone if {{ path_beg /gone }}
    use_backend none if {{ path_beg /none }}
    http-request return status 200 if {{ path_beg /here }}
    default_backend web
backend web
    http-request deny if {{ path_beg /denied }}
backend gone
    server a 127.0.0.1:{closed}
    server b 127.0.0.1:{closed}
backend none
"""
REQUESTS = {
    b"GET /here HTTP/1.1\r\nHost: a\r\n\r\n": b'"GET /here HTTP/1.1"',
    b"GET /here/a\"b#c\x80\xff<>\\{|}~%20?x='1 HTTP/1.1\r\nHost: a\r\n\r\n": b"/here/a#22b#23c#80#FF<>\\{|}~%20?x='1 ",
    b"GET /denied HTTP/1.0\r\n\r\n": b" 403 ",
    b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n": b" SC-- ",
    b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n": b"none/<NOSRV> ",
    b"GET /bad HTTP/1.1\r\n: x\r\n\r\n": b'"<BADREQ>"',
    b"GET /slow HT": b" 408 ",
}


def described(line: bytes) -> dict[str, Any]:
    """The record of a line of HAProxy's."""
    found = HTTPLOG.fullmatch(line)
    assert found, line
    fields: dict[str, Any] = {
        name: int(found[name])
        for name in ("tr", "tw", "tc", "trr", "ta", "bytes_out", "actconn", "feconn", "beconn", "srv_conn", "retries")
    }
    fields |= {name: found[name] for name in ("client", "frontend", "backend", "server", "term")}
    fields |= {"srv_queue": int(found["srv_queue"]), "backend_queue": int(found["backend_queue"])}
    fields |= {"https": found["tls"] == b"~", "redispatched": found["redispatched"] == b"+"}
    fields |= {"status": max(0, int(found["status"])), "client_port": int(found["port"])}
    date, _, millis = found["date"].decode().rpartition(".")
    seconds = int(time.mktime(time.strptime(date, "%d/%b/%Y:%H:%M:%S")))
    return fields | {"start_us": seconds * 1_000_000 + int(millis) * 1000 + 999}


def test_the_lines_of_haproxy_itself(tmp_path: Path, start: Callable[..., Program]) -> None:
    haproxy = need("haproxy")
    port, closed = free_port(), free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
        log.bind(("127.0.0.1", 0))
        log.settimeout(10 * SLOWNESS)
        configuration = tmp_path / "haproxy.cfg"
        configuration.write_text(CONFIGURATION.format(log=log.getsockname()[1], port=port, closed=closed))
        program = start([haproxy, "-db", "-f", str(configuration)])
        program.wait_port(("127.0.0.1", port))
        for request, expected in REQUESTS.items():
            with socket.create_connection(("127.0.0.1", port)) as client:
                own = b"]: 127.0.0.1:%d [" % client.getsockname()[1]
                client.sendall(request)
                assert client.recv(65536).startswith(b"HTTP/1.")
            while own not in (datagram := log.recv(65536)):
                pass  # notices, and the probes of its port
            line = datagram.split(b"]: ", 1)[1].rstrip(b"\n")
            assert expected in line
            sent = request.split(b"\r\n", 1)[0] if b"<BADREQ>" not in line else None
            assert write(tmp_path / "log", "httplog", described(line) | {"line": sent}, header=False) == [line]
