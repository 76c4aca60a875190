"""What is asked of every proxy, how it is driven (wrk, or connections held open) and read."""

from __future__ import annotations

import http.client
import re
import resource
import socket
import subprocess
import time
from dataclasses import dataclass, field

from benchmarks.compare.peers import SMALL_BODY, Proxy, find
from fastlb.bench.process import cpu_seconds, memory, tree

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


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the table. `goal` is the ratio to HAProxy's CPU a request that fastlb has to reach (issue 2)."""

    name: str
    title: str
    path: str = "/small"
    connections: int = 64
    headers: tuple[str, ...] = ()
    goal: float | None = None


WORKLOADS = (
    Workload("keepalive", "keep-alive, 120 bytes, 64 connections", goal=0.90),
    Workload("close", "a connection for each request", headers=("Connection: close",), goal=0.95),
    Workload("browser", "keep-alive, browser's request of 12 headers", headers=BROWSER_HEADERS),
    Workload("64k", "64 KB responses, 64 connections", path="/64k", goal=0.80),
    Workload("1m", "1 MB responses, 16 connections", path="/1m", connections=16, goal=0.80),
)
IDLE = "idle"
IDLE_GOAL = 512  # bytes a connection


@dataclass(slots=True)
class Sample:
    """One measurement of one proxy. Times in microseconds, `errors` are socket errors and wrong statuses."""

    workload: str
    proxy: str
    round: int
    values: dict[str, float] = field(default_factory=dict)
    errors: str = ""


def check(proxy: Proxy) -> None:
    """Raises unless the proxy does what the comparison takes for granted: both servers, the forwarded headers."""
    seen = set()
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    for _ in range(6):
        connection.request("GET", "/seen", headers={"Host": "check.example"})
        port, forwarded_for, proto, hop = connection.getresponse().read().decode().split("|")
        seen.add(int(port))
        if (forwarded_for, proto) != ("127.0.0.1", "http"):
            raise RuntimeError(f"{proxy.name}: X-Forwarded-For {forwarded_for!r}, X-Forwarded-Proto {proto!r}")
        if hop.lower() == "close":
            raise RuntimeError(f"{proxy.name}: no keep-alive towards the servers")
    if seen != set(proxy.setup.origins):
        raise RuntimeError(f"{proxy.name}: six requests in turn reached {len(seen)} of two servers")
    connection.request("GET", "/small", headers={"Host": "check.example"})
    if connection.getresponse().read().decode() != SMALL_BODY:
        raise RuntimeError(f"{proxy.name}: the small body arrived changed")
    connection.close()


_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


def counted(text: str) -> tuple[int, float]:
    """Requests that wrk says were answered, and in how many seconds; (0, 0) when it does not say."""
    match = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
    return (int(match.group(1)), float(match.group(2)) * _UNITS[match.group(3)] / 1e6) if match else (0, 0.0)


def latency(text: str, percentile: str) -> float:
    """A percentile of wrk's table in microseconds, NaN when it is not there."""
    match = re.search(rf"^\s*{percentile}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    return float(match.group(1)) * _UNITS[match.group(2)] if match else float("nan")


def _wrk(proxy: Proxy, workload: Workload, seconds: float) -> str:
    argv = [find("wrk") or "wrk", "-t1", f"-c{workload.connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    for header in workload.headers:
        argv += ["-H", header]
    argv.append(f"http://127.0.0.1:{proxy.port}{workload.path}")
    core = str(proxy.setup.load_core)
    done = subprocess.run(
        ["taskset", "-c", core, *argv], capture_output=True, text=True, timeout=seconds * 3 + 60, check=False
    )
    if done.returncode:
        raise RuntimeError(f"wrk ended with status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def run(proxy: Proxy, workload: Workload, seconds: float, round_number: int) -> Sample:
    """Drives one workload for `seconds` (whole ones) and reads what it cost."""
    assert proxy.child is not None
    pids = tree(proxy.child.pid)
    lines, before = proxy.logged_lines(), cpu_seconds(pids)
    text = _wrk(proxy, workload, seconds)
    spent = cpu_seconds(pids) - before
    requests, elapsed = counted(text)
    if requests == 0:
        raise RuntimeError(f"{proxy.name}, {workload.name}: wrk counted no request:\n{text}")
    logged = _logged(proxy, lines, requests)
    errors = [line.strip() for line in text.splitlines() if "Socket errors" in line or "Non-2xx" in line]
    if proxy.setup.log and logged < requests:
        errors.append(f"only {logged} of {requests} requests are in the access log")
    sample = Sample(workload.name, proxy.name, round_number, errors="; ".join(errors))
    sample.values = {
        "cpu_us": spent / requests * 1e6,
        "rps": requests / elapsed,
        "p50_us": latency(text, "50"),
        "p99_us": latency(text, "99"),
        "core_share": spent / elapsed,  # of the proxy's core: 1 = the proxy was the bottleneck
        "rss_mb": memory(tree(proxy.child.pid)).rss / 1e6,
        "requests": float(requests),
        "log_lines": float(logged),
    }
    return sample


def _logged(proxy: Proxy, before: int, requests: int) -> int:
    """Lines that a run added to the access log; waits for what is written late, at most two seconds."""
    deadline = time.monotonic() + 2.0
    while True:
        logged = proxy.logged_lines() - before
        if logged >= requests or not proxy.setup.log or time.monotonic() > deadline:
            return logged
        time.sleep(0.1)


def idle(proxy: Proxy, wanted: int, round_number: int) -> Sample:
    """Opens connections that each make one request and then stay, and reads what each costs the proxy in memory.

    As many as the limit of descriptors allows: the proxy holds one for each, and so does this process.
    """
    assert proxy.child is not None
    limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200, proxy.setup.connections - 100)
    count = min(wanted, limit)
    request = b"GET /small HTTP/1.1\r\nHost: idle.example\r\n\r\n"
    held: list[socket.socket] = []
    try:
        # The first hundred pay for what the proxy allocates once
        for i in range(count + 100):
            if i == 100:
                before = memory(tree(proxy.child.pid))
            sock = socket.create_connection(("127.0.0.1", proxy.port), 5.0)
            held.append(sock)
            sock.sendall(request)
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
    sample = Sample(IDLE, proxy.name, round_number)
    sample.values = {
        "connections": float(count),
        "bytes_each": (after.private - before.private) / count,
        "pss_each": (after.pss - before.pss) / count,
        "base_rss_mb": before.rss / 1e6,
        "base_pss_mb": before.pss / 1e6,
    }
    return sample
