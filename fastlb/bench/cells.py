"""The cells of the comparison: what is asked of every proxy, and what a proxy is set up for.

A family of cells of its own (as UDP's) is a module with a tuple of `Workload`, joined to WORKLOADS in `workloads`; its
way of driving is an entry of `drivers.DRIVERS`, what stands behind the proxy an entry of SCENES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fastlb.bench.origin import MB, Origin
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

    `kind`: load (the generator, as fast as answers come), latency (open loop at `share` of the slowest peer's
    saturation), idle (memory of connections held open), and others of `drivers.DRIVERS`. `size` is that of an answer so
    large that a run ends in the midst of many: then answers are counted by their bytes. `least` is how many seconds it
    takes at least to mean something. `unit` is what one answer is.
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
    size: int = 0
    least: float = 0.0
    goal: float | None = None  # ratio to HAProxy's CPU a request, or memory a connection, that fastlb has to reach
    unit: str = "request"

    @property
    def key(self) -> str:
        """What is compared: of idle connections memory, at fixed rates the 99th percentile, else CPU."""
        return {"idle": "bytes_each", "latency": "p99_us"}.get(self.kind, "cpu_us")


KEEPALIVE = request()
CLOSE = request(headers=("Connection: close",))
SHARES = (0.3, 0.5, 0.7, 0.9)
MANY = "many"  # proxies run one after the other: the connections that one keeps would count against the next
HTTP = (
    Workload("keepalive", "keep-alive, 120 bytes", KEEPALIVE, goal=0.90),
    Workload("close", "a connection for each request", CLOSE, close=True, goal=0.95),
    Workload("browser", "keep-alive, a browser's 12 headers", request(headers=BROWSER_HEADERS)),
    Workload("1k", "1 KB responses", request("/1k")),
    Workload("64k", "64 KB responses", request("/64k"), goal=0.80),
    Workload("1m", "1 MB responses, 16 connections", request("/1m"), 16, goal=0.80),
    Workload("100m", "100 MB responses, 2 connections", request("/100m"), 2, size=100 * MB, least=1.0),
    Workload("1conn", "1 connection", KEEPALIVE, 1),
    Workload("1000conn", "1,000 connections", KEEPALIVE, 1_000, scene=MANY, least=1.0),
    Workload("10000conn", "10,000 connections", KEEPALIVE, 10_000, scene=MANY, least=2.0),
    *(
        Workload(
            f"latency{s:.0%}", f"open loop at {s:.0%} of the slowest", KEEPALIVE, kind="latency", share=s, least=3.0
        )
        for s in SHARES
    ),
    Workload("nolog", "keep-alive, no access log", KEEPALIVE, scene="nolog"),
    Workload("nolog-close", "a connection for each, no access log", CLOSE, close=True, scene="nolog"),
    Workload("100servers", "keep-alive, 100 servers", KEEPALIVE, scene="100servers"),
    Workload("1000servers", "keep-alive, 1,000 servers", KEEPALIVE, scene="1000servers"),
    Workload("2workers", "keep-alive, 2 workers", KEEPALIVE, scene="2workers"),
    Workload("2workers-close", "a connection for each, 2 workers", CLOSE, close=True, scene="2workers"),
    Workload("upload64k", "uploads of 64 KB", request("/upload", body=64 * 1024), 16, scene="upload"),
    Workload("upload1m", "uploads of 1 MB, 16 connections", request("/upload", body=MB), 16, scene="upload"),
    Workload(
        "websocket",
        "WebSocket messages of 127 bytes",
        MESSAGE,
        upgrade=UPGRADE,
        expect=len(MESSAGE),
        scene="ws",
        unit="message",
    ),
)
TLS = (
    Workload("tls", "TLS keep-alive, 120 bytes", KEEPALIVE, scene="tls", goal=0.85),
    Workload("tls-64k", "TLS, 64 KB responses, 16 connections", request("/64k"), 16, scene="tls"),
    Workload("tls-full", "TLS full handshakes", CLOSE, close=True, scene="tls", goal=1.0),
    Workload("tls-resumed", "TLS resumed handshakes", CLOSE, close=True, resumed=True, scene="tls", goal=1.0),
    Workload("tls-idle", "idle TLS connections", KEEPALIVE, 1_000, kind="idle", scene="tls", goal=1.1),
)
TCP = (
    Workload("tcp", "layer 4: keep-alive requests", KEEPALIVE, scene="tcp"),
    Workload("tcp-stream", "layer 4: 1 MB answers", request("/1m"), 16, scene="tcp", goal=0.90),
    Workload("tcp-close", "layer 4: a connection each", CLOSE, close=True, scene="tcp", goal=0.90),
)
IDLE = "idle"
IDLE_GOAL = 512  # bytes a connection
MEMORY = (Workload(IDLE, "idle connections", KEEPALIVE, 5_000, kind="idle", scene="idle"),)
CELLS = (*HTTP, *TLS, *TCP, *MEMORY)

# What a scene's name makes of the base; names that are not here stand for the base itself, started anew.
SCENES: dict[str, Callable[[Scene, Origin, Path], Scene]] = {
    "nolog": lambda base, origin, pem: replace(base, log=False),
    "100servers": lambda base, origin, pem: replace(base, servers=origin.ports[:100]),
    "1000servers": lambda base, origin, pem: replace(base, servers=origin.ports),
    "2workers": lambda base, origin, pem: replace(base, workers=2),
    "upload": lambda base, origin, pem: replace(base, servers=(origin.echo,), weights=()),
    "ws": lambda base, origin, pem: replace(base, servers=(origin.echo,), weights=(), websockets=True),
    "tls": lambda base, origin, pem: replace(base, tls=pem),
    "tcp": lambda base, origin, pem: replace(base, mode="tcp"),
}


def scene_of(name: str, base: Scene, origin: Origin, certificate: Path) -> Scene:
    """The base with what a scene's name stands for."""
    return SCENES[name](base, origin, certificate) if name in SCENES else base


def addressed(cell: Workload, host: str, path: str) -> Workload:
    """The cell asking another host, and, where `path` is not empty, for another path."""
    raw = cell.request.replace(f"Host: {HOST}".encode(), f"Host: {host}".encode())
    if path and raw:
        method, _, rest = raw.split(b" ", 2)
        raw = b" ".join((method, path.encode(), rest))
    return replace(cell, request=raw)
