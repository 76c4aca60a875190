"""What a running fastlb writes about its requests, and that HAProxy's own reader understands it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.helpers import need, wait_until

from .balancer import Balancer, Balancers, Logged
from .wire import Origin


def traffic(lb: Balancer, origin: Origin) -> None:
    """Eight requests with known ends: five good, a 404 of the server, a 502, and a client that leaves."""
    client = lb.dial()
    server = None
    for i in range(5):
        client.get(f"/good?{i}", "User-Agent: agent/1.0", "Referer: http://from.example/")
        server = server or origin.accept()
        server.request()
        server.answer("x" * 100)
        client.response()
    assert server is not None
    client.get("/missing")
    server.request()
    server.answer("no", status="404 Not Found")
    client.response()
    client.get("/broken")
    server.request()
    server.send("junk\r\n\r\n")
    assert client.response().status == 502
    client.get("/left")
    server, _ = origin.request()
    client.close()
    server.ended()


def test_halog_reads_httplog(balancer: Balancers, origin: Origin, tmp_path: Path) -> None:
    halog = need("halog", "haproxy")
    path = tmp_path / "access.log"
    lb = balancer(origin, log={"access": str(path), "format": "httplog"})
    traffic(lb, origin)
    lb.stop()  # writes what is left
    lines = [Logged.read(line) for line in path.read_text().splitlines()]
    assert len(lines) == 8

    def read(*options: str) -> list[list[str]]:
        with path.open() as file:
            ran = subprocess.run([halog, "-q", *options], stdin=file, capture_output=True, text=True, check=True)
        return [line.split() for line in ran.stdout.splitlines() if not line.startswith("#")]

    assert dict(read("-st")) == {"-1": "1", "200": "5", "404": "1", "502": "1"}
    assert dict(read("-tc")) == {"--": "6", "PH": "1", "CH": "1"}
    assert [row[:6] for row in read("-srv")] == [["app/s0", "0", "5", "0", "1", "1"]]  # 1xx to 5xx
    assert {row[-1] for row in read("-u")} >= {"/good", "/missing", "/left"}
    assert [line[-2] for line in read("-e")] == ["/broken", "/left"]


def test_json_lines(balancer: Balancers, origin: Origin, tmp_path: Path) -> None:
    path = tmp_path / "access.json"
    lb = balancer(origin, log={"access": str(path), "format": "json"})
    traffic(lb, origin)
    lb.stop()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["status"] for line in lines] == [200] * 5 + [404, 502, None]
    assert [line["target"] for line in lines][4:] == ["/good?4", "/missing", "/broken", "/left"]
    first = lines[0]
    assert (first["method"], first["protocol"], first["host"], first["server"]) == ("GET", "HTTP/1.1", "x", "s0")
    assert first["bytes_out"] > 100
    assert first["user_agent"] == "agent/1.0"
    assert first["referer"] == "http://from.example/"
    assert len({line["request_id"] for line in lines}) == 8
    assert lines[6]["reason"] == "malformed response"
    assert lines[7]["termination"] == "CH--"


def test_combined_lines(balancer: Balancers, origin: Origin, tmp_path: Path) -> None:
    path = tmp_path / "combined.log"
    lb = balancer(origin, log={"access": str(path), "format": "combined"})
    traffic(lb, origin)
    lb.stop()
    lines = path.read_text().splitlines()
    assert len(lines) == 8
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /good\?0 HTTP/1\.1" 200 \d+ '
        r'"http://from\.example/" "agent/1\.0"',
        lines[0],
    ), lines[0]
    assert ' "GET /missing HTTP/1.1" 404 ' in lines[5]


def test_a_log_file_is_opened_again(balancer: Balancers, origin: Origin, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    lb = balancer(origin, log={"access": str(path), "format": "httplog"}, global_={"workers": 1})
    client = lb.dial()
    client.get("/before")
    server, _ = origin.request()
    server.answer("x")
    client.response()
    wait_until(lambda: "/before" in path.read_text(), what="the first line in the file")
    path.rename(tmp_path / "access.log.1")
    os.kill(lb.pid, signal.SIGUSR1)
    wait_until(path.exists, what="a new file")
    client.get("/after")
    server.request()
    server.answer("x")
    client.response()
    wait_until(lambda: "/after" in path.read_text(), what="the second line in the new file")
    assert "/after" not in (tmp_path / "access.log.1").read_text()


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_syslog(balancer: Balancers, origin: Origin, tmp_path: Path, kind: str) -> None:
    with socket.socket(socket.AF_INET if kind == "udp" else socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.settimeout(10)
        daemon.bind(("127.0.0.1", 0) if kind == "udp" else str(tmp_path / "log"))
        where = f"127.0.0.1:{daemon.getsockname()[1]}" if kind == "udp" else str(tmp_path / "log")
        lb = balancer(
            origin, log={"access": f"syslog:{kind}:{'//' if kind == 'udp' else ''}{where}", "format": "httplog"}
        )
        client = lb.dial().get("/logged")
        server, _ = origin.request()
        server.answer("x")
        client.response()
        line = daemon.recv(4096).decode()
    assert re.match(r"<\d+>", line)
    assert Logged.read(line.rstrip()).request.startswith("GET /logged ")


def test_no_access_log(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, log={"access": "off"})
    traffic(lb, origin)
    assert "malformed response" in lb.complained("status=502")
    assert "client closed" in lb.complained("client closed")
    lb.stop()
    assert "/good" not in lb.program.output


def test_error_log_has_a_reason_for_every_refusal(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, frontend={"backend": "", "routes": [{"path": "/app", "backend": "app"}]}, limits={"body": 10})
    for raw in (
        "GET /none HTTP/1.1\r\nHost: x\r\n\r\n",
        "BAD\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        "POST /app HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    ):
        client = lb.dial().send(raw)
        assert 400 <= client.response().status < 500
    lb.stop()
    reasons = re.findall(r'info fastlb\[\d+\] .*status=4\d\d.* reason="([^"]+)"', lb.program.output)
    assert len(reasons) == 6, lb.program.output
    assert len(set(reasons)) == 6


def test_timers_tell_where_the_time_went(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin)
    client = lb.dial().send("GET /timed HTTP/1.1\r\n")
    client.silent(0.06)
    client.send("Host: x\r\n\r\n")
    server, _ = origin.request()
    server.silent(0.08)
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    client.head()
    server.silent(0.1)
    server.send("ok")
    assert client.exactly(2) == b"ok"
    line = lb.logged("/timed")
    assert 50 <= line.tr < 1000  # from the first byte of the request to its last
    assert line.tw == 0
    assert 0 <= line.tc < 50
    assert 70 <= line.trr < 1000
    assert line.ta >= line.tr + line.tw + line.tc + line.trr + 80
