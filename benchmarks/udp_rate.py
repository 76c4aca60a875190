"""Datagrams a second of CPU: fastlb beside nginx's stream module, in one run.

    python -m benchmarks.udp_rate [--seconds 5] [--rounds 2]

One worker each, pinned to one core; clients and server (udp_load.c) have another. What counts is the CPU time that the
worker took for an exchange, a datagram each way; both get the same load in turn. Needs cc, and nginx with its stream
module (Debian: libnginx-mod-stream); without it fastlb is measured alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


@dataclass(frozen=True)
class Case:
    name: str
    sockets: int
    window: int
    size: int
    reuse: int = 0  # answers after which a client takes another port
    udp: str = ""  # fastlb's options
    stream: str = ""  # nginx's


CASES = (
    Case("64 clients, 1 under way", 64, 1, 64),
    Case("64 clients, 8 under way", 64, 8, 64),
    Case("1000 clients, 1 under way", 1000, 1, 64),
    Case("16 clients, 32 x 1200 bytes", 16, 32, 1200),
    Case("a flow a query", 64, 1, 64, 1, "responses = 1", "proxy_responses 1;"),
)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def on_core(core: int, *command: str) -> list[str]:
    return ["taskset", "-c", str(core), *command]


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has taken, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def child(pid: int) -> int:
    for _ in range(100):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise SystemExit(f"process {pid} has no worker")


@contextmanager
def running(command: list[str], ready: str = "") -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE if ready else subprocess.DEVNULL, stderr=subprocess.STDOUT, text=True
    )
    try:
        if ready and process.stdout is not None:
            for line in process.stdout:
                if ready in line:
                    break
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def fastlb(folder: Path, case: Case, core: int, servers: list[int]) -> Iterator[tuple[int, int]]:
    port = free_port()
    file = folder / "fastlb.toml"
    addresses = ", ".join(f'"127.0.0.1:{p}"' for p in servers)
    file.write_text(
        f'[global]\nworkers = 1\n[log]\naccess = "off"\n[frontends.f]\nlisten = "127.0.0.1:{port}"\nmode = "udp"\n'
        f'backend = "b"\nudp = {{ {case.udp} }}\n[backends.b]\nmode = "udp"\nbalance = "round_robin"\n'
        f"servers = [{addresses}]\n"
    )
    with running(on_core(core, sys.executable, "-m", "fastlb", "serve", "-c", str(file)), "fastlb ready") as process:
        yield port, child(process.pid)


@contextmanager
def nginx(folder: Path, case: Case, core: int, servers: list[int]) -> Iterator[tuple[int, int]]:
    port = free_port()
    file = folder / "nginx.conf"
    addresses = "".join(f"server 127.0.0.1:{p}; " for p in servers)
    file.write_text(
        f"load_module {MODULE};\ndaemon off; worker_processes 1;\n"
        f"pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
        f"events {{ worker_connections 20000; }}\nstream {{ upstream b {{ {addresses} }}\n"
        f"server {{ listen 127.0.0.1:{port} udp; proxy_pass b; proxy_timeout 60s; {case.stream} }} }}\n"
    )
    with running(on_core(core, shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(file))) as process:
        yield port, child(process.pid)


def measure(load: Path, case: Case, port: int, pid: int, core: int, seconds: float) -> tuple[float, float, float]:
    """Exchanges a second, microseconds of the worker's CPU an exchange, share of its core."""
    before, began = cpu(pid), time.monotonic()
    command = [load, "load", port, case.sockets, case.window, case.size, seconds, case.reuse]
    out = subprocess.run(on_core(core, *map(str, command)), check=True, capture_output=True, text=True).stdout
    took, used = time.monotonic() - began, cpu(pid) - before
    answers = int(out)
    return answers / took, used * 1e6 / max(answers, 1), used / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--alone", action="store_true", help="fastlb alone")
    options = parser.parse_args()
    peers = {"fastlb": fastlb}
    if MODULE.exists() and not options.alone:
        peers["nginx"] = nginx
    cores = sorted(os.sched_getaffinity(0))
    mine, other = cores[0], cores[-1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load = folder / "udp_load"
        subprocess.run(["cc", "-O2", "-o", str(load), str(HERE / "udp_load.c")], check=True)
        servers = [free_port(), free_port()]
        with (
            running(on_core(other, str(load), "serve", str(servers[0]))),
            running(on_core(other, str(load), "serve", str(servers[1]))),
        ):
            print(f"{'case':30} {'peer':7} {'exchanges/s':>12} {'us CPU each':>12} {'of a core':>10}")
            for case in CASES:
                if options.only not in case.name:
                    continue
                found: dict[str, list[tuple[float, float, float]]] = {}
                for _ in range(options.rounds):
                    for peer, start in peers.items():
                        with start(folder, case, mine, servers) as (port, pid):
                            measure(load, case, port, pid, other, 0.3)
                            found.setdefault(peer, []).append(measure(load, case, port, pid, other, options.seconds))
                for peer, results in found.items():
                    rate, each, share = (statistics.median(r[i] for r in results) for i in range(3))
                    print(f"{case.name:30} {peer:7} {rate:12,.0f} {each:12.2f} {share:9.0%}", flush=True)
                if len(found) == 2:
                    costs = [statistics.median(r[1] for r in found[p]) for p in ("nginx", "fastlb")]
                    print(f"{'':30} exchanges a CPU second: {costs[0] / costs[1]:.2f} x nginx", flush=True)


if __name__ == "__main__":
    main()
