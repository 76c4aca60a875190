"""TLS beside HAProxy in the same run: CPU a kept-alive request, a full handshake and a resumed one; idle memory.

    python -m benchmarks.compare.tls [--seconds 6] [--rounds 3]

One worker, one core, an ECDSA P-256 certificate, TLS 1.3 as both negotiate it; access logs are off. wrk drives
requests, `openssl s_time` handshakes, each with a request. Goals, to HAProxy's: 0.85, 1.0, 1.0, and 1.1 of memory.
"""

from __future__ import annotations

import argparse
import re
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fastlb.bench.origin import Origin
from fastlb.bench.peers import Fastlb, HAProxy, Proxy, Setup, find
from fastlb.bench.process import cpu_seconds, memory, tree
from fastlb.bench.scene import Scene

ROOT = Path(__file__).resolve().parent.parent.parent
IDLE = 1000  # connections
GOALS = {"keepalive": 0.85, "full": 1.0, "resumed": 1.0, "idle": 1.1}


def certificate(folder: Path) -> None:
    """site.pem, self-signed, with its key."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", folder / "site.key", "-out", folder / "site.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "site.pem").write_bytes((folder / "site.crt").read_bytes() + (folder / "site.key").read_bytes())


def spent(proxy: Proxy, work: Callable[[], int]) -> float:
    """Microseconds of CPU for each of the things that `work` did."""
    assert proxy.child is not None
    pids = tree(proxy.child.pid)
    before = cpu_seconds(pids)
    count = work()
    return (cpu_seconds(pids) - before) / count * 1e6


def on_core(core: int, *argv: str) -> str:
    done = subprocess.run(["taskset", "-c", str(core), *argv], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def requests(proxy: Proxy, seconds: int) -> int:
    url = f"https://127.0.0.1:{proxy.port}/small"
    told = on_core(proxy.setup.load_core, find("wrk") or "wrk", "-t1", "-c64", f"-d{seconds}s", url)
    match = re.search(r"(\d+) requests in", told)
    if match is None or "Non-2xx" in told:
        raise RuntimeError(f"{proxy.name}: {told}")
    return int(match[1])


def handshakes(proxy: Proxy, seconds: int, how: str) -> int:
    told = on_core(
        proxy.setup.load_core, "openssl", "s_time", "-connect", f"127.0.0.1:{proxy.port}", how, "-time", str(seconds),
        "-www", "/small",
    )  # fmt: skip
    match = re.search(r"(\d+) connections in \d+ real seconds", told)
    if match is None:
        raise RuntimeError(f"{proxy.name}: {told}")
    return int(match[1])


def warm(proxy: Proxy) -> None:
    """Until a worker has answered: before, it may not be there to be measured."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", proxy.port), 30)) as s:
        s.sendall(b"GET /small HTTP/1.0\r\n\r\n")
        s.recv(4096)


def idle(proxy: Proxy) -> float:
    """Bytes of resident memory for each of IDLE connections that have had one answer."""
    assert proxy.child is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    pids = tree(proxy.child.pid)

    def one() -> ssl.SSLSocket:
        s = context.wrap_socket(socket.create_connection(("127.0.0.1", proxy.port)))
        s.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
        s.recv(4096)
        return s

    held = [one() for _ in range(100)]  # what is taken once is taken before
    before = memory(pids).rss
    held += [one() for _ in range(IDLE)]
    time.sleep(0.3)
    grown = memory(pids).rss - before
    for s in held:
        s.close()
    return grown / IDLE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        setup = Setup(proxy_cores={0}, load_core=1, folder=Path(name))
        certificate(setup.folder)
        origin = Origin(setup)
        scene = Scene(tuple(origin.ports), log=False, tls=setup.folder / "site.pem")
        proxies: list[Proxy] = [HAProxy(setup), Fastlb(setup, "fastlb", ROOT)]
        cells: dict[str, Callable[[Proxy], float]] = {
            "keepalive": lambda p: spent(p, lambda: requests(p, options.seconds)),
            "full": lambda p: spent(p, lambda: handshakes(p, options.seconds, "-new")),
            "resumed": lambda p: spent(p, lambda: handshakes(p, options.seconds, "-reuse")),
            "idle": idle,
        }
        found: dict[str, dict[str, list[float]]] = {cell: {p.name: [] for p in proxies} for cell in cells}
        try:
            for _ in range(options.rounds):
                for proxy in proxies:
                    proxy.start(scene)
                    try:
                        warm(proxy)
                        for cell, measure in cells.items():
                            found[cell][proxy.name].append(measure(proxy))
                    finally:
                        proxy.stop()
        finally:
            origin.stop()
    for cell, values in found.items():
        peer, ours = statistics.median(values["haproxy"]), statistics.median(values["fastlb"])
        unit = "bytes" if cell == "idle" else "µs"
        verdict = "holds" if ours / peer <= GOALS[cell] else "MISSED"
        print(f"{cell:10} haproxy {peer:8.1f} {unit}  fastlb {ours:8.1f} {unit}  ratio {ours / peer:.2f}"
              f"  goal {GOALS[cell]:.2f} {verdict}")  # fmt: skip


if __name__ == "__main__":
    main()
