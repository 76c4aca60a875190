"""What is asked of every proxy, how it is driven and read: the cells of the comparison."""

from __future__ import annotations

import http.client
import json
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastlb.bench.origin import MB, SMALL_BODY, Origin
from fastlb.bench.peers import Proxy
from fastlb.bench.process import cpu_seconds, memory, tree
from fastlb.bench.scene import Scene

# What a browser sends beside Host, about 750 bytes in all.
BROWSER_HEADERS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: https://shop.example.com/catalogue/garden/tools?page=3",
    "Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=analytics%3Dno%26ads%3Dno; _ga=GA1.2.123456",
    "Cache-Control: max-age=0",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
)
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: bench.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MESSAGE = b"\x81\xfe\x00\x7f" + b"\x00" * 4 + b"m" * 127  # a text frame of 127 bytes, masked with zeroes


HOST = "bench.example"


def request(path: str = "/small", headers: tuple[str, ...] = (), body: int = 0) -> bytes:
    """Bytes of one request."""
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", f"Host: {HOST}", *headers]
    lines += [f"Content-Length: {body}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + b"u" * body


@dataclass(frozen=True, slots=True)
class Workload:
    """One cell. `scene` changes what the proxy has to do; cells of one scene share a start of the proxy.

    `kind`: load (the generator), handshakes (TLS), idle (memory of connections held open), latency (open loop at
    `share` of the slowest peer's saturation).
    """

    name: str
    title: str
    request: bytes = b""
    connections: int = 64
    close: bool = False
    upgrade: bytes = b""
    expect: int = 0
    kind: str = "load"
    scene: str = ""
    share: float = 0.0
    resumed: bool = False
    goal: float | None = None  # ratio to HAProxy's CPU a request that fastlb has to reach


KEEPALIVE = request()
CLOSE = request(headers=("Connection: close",))
WORKLOADS = (
    Workload("keepalive", "keep-alive, 120 bytes", KEEPALIVE, goal=0.90),
    Workload("close", "a connection for each request", CLOSE, close=True, goal=0.95),
    Workload("browser", "keep-alive, a browser's 12 headers", request(headers=BROWSER_HEADERS)),
    Workload("1k", "1 KB responses", request("/1k")),
    Workload("64k", "64 KB responses", request("/64k"), goal=0.80),
    Workload("1m", "1 MB responses, 16 connections", request("/1m"), 16, goal=0.80),
    Workload("100m", "100 MB responses, 2 connections", request("/100m"), 2),
    Workload("1conn", "1 connection", KEEPALIVE, 1),
    Workload("1000conn", "1,000 connections", KEEPALIVE, 1_000),
    Workload("10000conn", "10,000 connections", KEEPALIVE, 10_000),
    *(
        Workload(f"latency{s:.0%}", f"open loop at {s:.0%} of the slowest", KEEPALIVE, kind="latency", share=s)
        for s in (0.3, 0.5, 0.7, 0.9)
    ),
    Workload("nolog", "keep-alive, no access log", KEEPALIVE, scene="nolog"),
    Workload("1000servers", "keep-alive, 1,000 servers", KEEPALIVE, scene="1000servers"),
    Workload("2workers", "keep-alive, 2 workers", KEEPALIVE, scene="2workers"),
    Workload("2workers-close", "a connection for each, 2 workers", CLOSE, close=True, scene="2workers"),
    Workload("upload64k", "uploads of 64 KB", request("/upload", body=64 * 1024), 16, scene="upload"),
    Workload("upload1m", "uploads of 1 MB, 16 connections", request("/upload", body=MB), 16, scene="upload"),
    Workload("websocket", "WebSocket messages of 127 bytes", MESSAGE, upgrade=UPGRADE, expect=len(MESSAGE), scene="ws"),
    Workload("tls", "TLS keep-alive, 120 bytes", KEEPALIVE, kind="tls", scene="tls"),
    Workload("tls-full", "TLS full handshakes", CLOSE, kind="handshakes", scene="tls"),
    Workload("tls-resumed", "TLS resumed handshakes", CLOSE, kind="handshakes", resumed=True, scene="tls"),
    Workload("tcp", "layer 4: keep-alive requests", KEEPALIVE, scene="tcp"),
    Workload("tcp-stream", "layer 4: 1 MB answers", request("/1m"), 16, scene="tcp"),
    Workload("tcp-close", "layer 4: a connection each", CLOSE, close=True, scene="tcp"),
    Workload("idle", "idle connections", connections=5_000, kind="idle", scene="idle"),
)
NAMED = {w.name: w for w in WORKLOADS}
IDLE = "idle"
IDLE_GOAL = 512  # bytes a connection


def scene_of(name: str, base: Scene, origin: Origin, certificate: Path) -> Scene:
    """The base with what a scene's name stands for."""
    changes: dict[str, Callable[[], Scene]] = {
        "nolog": lambda: replace(base, log=False),
        "1000servers": lambda: replace(base, servers=origin.ports),
        "2workers": lambda: replace(base, workers=2),
        "upload": lambda: replace(base, servers=(origin.echo,), weights=()),
        "ws": lambda: replace(base, servers=(origin.echo,), weights=(), websockets=True),
        "tls": lambda: replace(base, tls=certificate),
        "tcp": lambda: replace(base, mode="tcp"),
    }
    return changes[name]() if name in changes else base


def addressed(cell: Workload, host: str, path: str) -> Workload:
    """The cell asking another host, and, where `path` is not empty, for another path."""
    raw = cell.request.replace(f"Host: {HOST}".encode(), f"Host: {host}".encode())
    if path and raw:
        method, _, rest = raw.split(b" ", 2)
        raw = b" ".join((method, path.encode(), rest))
    return replace(cell, request=raw)


@dataclass(slots=True)
class Sample:
    """One measurement of one proxy. Times in microseconds, `errors` are broken connections and wrong statuses."""

    workload: str
    proxy: str
    round: int
    values: dict[str, float] = field(default_factory=dict)
    errors: str = ""
    latencies: dict[int, int] = field(default_factory=dict)  # microseconds: how often


def check(proxy: Proxy) -> None:
    """Raises unless the proxy does what the comparison takes for granted: all servers, the forwarded headers."""
    scene = proxy.scene
    if scene.mode != "http" or scene.tls or scene.extra or scene.weights or len(set(scene.servers)) != 2:
        return
    seen = set()
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    for _ in range(6):
        connection.request("GET", "/seen", headers={"Host": "check.example"})
        port, forwarded_for, proto, hop = connection.getresponse().read().decode().split("|")
        seen.add(int(port))
        # Envoy names a client on its own machine by the machine's address
        if (forwarded_for != "127.0.0.1" and proxy.name != "envoy") or not forwarded_for or proto != "http":
            raise RuntimeError(f"{proxy.name}: X-Forwarded-For {forwarded_for!r}, X-Forwarded-Proto {proto!r}")
        if hop.lower() == "close":
            raise RuntimeError(f"{proxy.name}: no keep-alive towards the servers")
    if seen != set(proxy.scene.servers):
        raise RuntimeError(f"{proxy.name}: six requests in turn reached {len(seen)} of two servers")
    connection.request("GET", "/small", headers={"Host": "check.example"})
    if connection.getresponse().read().decode() != SMALL_BODY:
        raise RuntimeError(f"{proxy.name}: the small body arrived changed")
    connection.close()


def percentile(latencies: dict[int, int], share: float) -> float:
    """Microseconds that `share` of them did not exceed, by an HdrHistogram; NaN where there are none."""
    from hdrh.histogram import HdrHistogram  # optional: fastlb[bench]

    histogram = HdrHistogram(1, 3_600_000_000, 3)
    for us, count in latencies.items():
        histogram.record_value(max(1, us), count)
    return float(histogram.get_value_at_percentile(share * 100)) if latencies else float("nan")


@dataclass(slots=True)
class Found:
    """What a generator counted; see `fastlb.bench.load.Generator.run`."""

    answers: int
    errors: int
    refused: int
    seconds: float
    late: float
    latencies: dict[int, int]
    bytes: int = 0


def generate(port: int, core: int, workload: Workload, seconds: float, rate: float = 0.0) -> Found:
    """The generator in a process of its own, pinned to `core`."""
    plan = {
        "port": port,
        "request": workload.request.hex(),
        "connections": workload.connections,
        "close": workload.close,
        "upgrade": workload.upgrade.hex(),
        "expect": workload.expect,
        "rate": rate,
        "seconds": seconds,
        "core": core,
    }
    argv = [sys.executable, "-m", "fastlb.bench.drive"]
    done = subprocess.run(
        argv, input=json.dumps(plan), capture_output=True, text=True, timeout=seconds * 3 + 60, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the generator ended with status {done.returncode}: {done.stdout}{done.stderr}")
    found = Found(**json.loads(done.stdout))
    found.latencies = {int(us): n for us, n in found.latencies.items()}  # JSON's keys are texts
    return found


def run(proxy: Proxy, workload: Workload, seconds: float, number: int, rate: float = 0.0) -> Sample:
    """Drives one workload for `seconds` and reads what it cost."""
    assert proxy.child is not None
    if workload.kind == "idle":
        return idle(proxy, workload.connections, number)
    pids = tree(proxy.child.pid)
    lines, before = proxy.logged_lines(), cpu_seconds(pids)
    if workload.kind in ("handshakes", "tls"):
        found = _tls(proxy.port, workload, seconds)
    else:
        found = generate(proxy.port, proxy.setup.load_core, workload, seconds, rate)
    spent = cpu_seconds(pids) - before
    answers, elapsed, latencies = found.answers, found.seconds, found.latencies
    if answers == 0:
        raise RuntimeError(f"{proxy.name}, {workload.name}: not one answer: {found}")
    errors = [f"{n} {what}" for n, what in ((found.errors, "broken"), (found.refused, "refused")) if n]
    wanted = 0 if workload.upgrade or proxy.scene.mode == "tcp" else answers
    logged = _logged(proxy, lines, wanted)
    if proxy.scene.log and logged < wanted:
        errors.append(f"only {logged} of {wanted} requests are in the access log")
    sample = Sample(workload.name, proxy.name, number, errors="; ".join(errors))
    sample.latencies = latencies
    sample.values = {
        "cpu_us": spent / answers * 1e6,
        "rps": answers / elapsed,
        "p50_us": percentile(latencies, 0.5),
        "p99_us": percentile(latencies, 0.99),
        "p999_us": percentile(latencies, 0.999),
        "core_share": spent / elapsed,  # of the proxy's core: 1 = the proxy was the bottleneck
        "rss_mb": memory(tree(proxy.child.pid)).rss / 1e6,
        "requests": float(answers),
        "log_lines": float(logged),
        "rate": rate,
        "late_us": found.late * 1e6,
    }
    return sample


def _tls(port: int, workload: Workload, seconds: float) -> Found:
    """One client, one request after the other: over one connection, or over a new one each (full or resumed)."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    keep = workload.kind == "tls"
    session: ssl.SSLSession | None = None
    sock: ssl.SSLSocket | None = None
    answers = errors = 0
    latencies: dict[int, int] = {}
    began = time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        if sock is None:
            plain = socket.create_connection(("127.0.0.1", port), 5.0)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock = context.wrap_socket(plain, server_hostname="bench.example", session=session)
        sock.sendall(workload.request)
        answer = b""
        while not answer.endswith(SMALL_BODY.encode()):
            piece = sock.recv(65536)
            if not piece:
                break
            answer += piece
        answers += 1
        errors += not answer.startswith(b"HTTP/1.1 200")
        if workload.resumed:
            errors += session is not None and not sock.session_reused
            session = sock.session
        if not keep:
            sock.close()
            sock = None
        us = int((time.monotonic() - now) * 1e6)
        latencies[us] = latencies.get(us, 0) + 1
    if sock is not None:
        sock.close()
    elapsed = time.monotonic() - began
    return Found(answers, errors, 0, elapsed, 0.0, latencies)


def _logged(proxy: Proxy, before: int, requests: int) -> int:
    """Lines that a run added to the access log; waits for what is written late, at most two seconds."""
    deadline = time.monotonic() + 2.0
    while True:
        logged = proxy.logged_lines() - before
        if logged >= requests or not proxy.scene.log or time.monotonic() > deadline:
            return logged
        time.sleep(0.1)


def idle(proxy: Proxy, wanted: int, number: int) -> Sample:
    """Opens connections that each make one request and then stay, and reads what each costs the proxy in memory.

    As many as the limit of descriptors allows: the proxy holds one for each, and so does this process.
    """
    assert proxy.child is not None
    limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200, proxy.scene.connections - 100)
    count = min(wanted, limit)
    held: list[socket.socket] = []
    try:
        # The first hundred pay for what the proxy allocates once
        for i in range(count + 100):
            if i == 100:
                before = memory(tree(proxy.child.pid))
            sock = socket.create_connection(("127.0.0.1", proxy.port), 5.0)
            held.append(sock)
            sock.sendall(KEEPALIVE)
            answer = b""
            while not answer.endswith(SMALL_BODY.encode()):
                piece = sock.recv(4096)
                if not piece:
                    raise RuntimeError(f"{proxy.name} closed connection {i} of {count}")
                answer += piece
        after = memory(tree(proxy.child.pid))
    finally:
        for sock in held:
            sock.close()
    sample = Sample(IDLE, proxy.name, number)
    sample.values = {
        "connections": float(count),
        "bytes_each": (after.private - before.private) / count,
        "pss_each": (after.pss - before.pss) / count,
        "base_rss_mb": before.rss / 1e6,
        "base_pss_mb": before.pss / 1e6,
    }
    return sample
