"""What a reload and a dying worker may cost, measured: nothing, and what was in flight on it.

test_proofs.py runs the short forms; in full size, with the figures printed:

    python -m tests.ops.proofs reloads      100 in a minute under kept and new connections, plain and TLS, and tunnels
    python -m tests.ops.proofs kills        20 workers killed under load
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.helpers import ROOT, Program, free_port, wait_until

from .conftest import Served, certificate


class Child:
    """A program of ours that ends with its standard input."""

    def __init__(self, module: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self) -> str:
        """A line for a line."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.line()

    def end(self) -> str:
        """What it says last."""
        return self.process.communicate(timeout=120)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()


@dataclass
class Proof:
    """What was seen."""

    seconds: float
    rounds: int  # reloads or kills
    requests: int
    connections: int
    echoes: int
    slowest: float
    failures: dict[str, int]
    failed_ports: list[int]
    memory: dict[str, list[int]] = field(default_factory=dict)  # process -> its own memory in KB, after each round
    victims: set[int] = field(default_factory=set)  # clients' ports of connections that killed workers had
    held: int = 0  # such connections

    @property
    def growth(self) -> dict[str, int]:
        """KB that each process has more at the end than after the first third, by which it has met everything."""
        return {name: seen[-1] - max(seen[: len(seen) // 3 + 1]) for name, seen in self.memory.items()}


@contextmanager
def served(folder: Path, text: str) -> Iterator[Served]:
    """A balancer of this program alone."""
    programs: list[Program] = []

    def start(argv: Any, **options: Any) -> Program:
        programs.append(Program(argv, **options))
        return programs[-1]

    try:
        yield Served(start, folder, text)
    finally:
        for program in programs:
            program.stop()


def configuration(folder: Path, port: int, secure: int, origin: int, number: int, extra: int) -> str:
    """What is under load stays as it is; around it routes, servers, backends and listeners come and go."""
    servers = [f"'127.0.0.1:{origin}'"]
    other = f"[frontends.other{number % 3}]\nlisten = '127.0.0.1:{extra}'\nbackend = 'other'"
    if number % 2:
        servers.append(f"{{ address = '127.0.0.1:{origin}', name = 'twin', weight = 0 }}")
        servers[-1] = servers[-1].replace("127.0.0.1", "127.0.0.2")
    return f"""
[global]
workers = 2
[log]
access = "off"
[frontends.web]
listen = ["127.0.0.1:{port}", {{ address = "127.0.0.1:{secure}", tls = {{ cert = "{folder}/site.pem" }} }}]
backend = "app"
[[frontends.web.routes]]
path = "/route{number}"
respond = {{ status = 204 }}
[backends.app]
servers = [{", ".join(servers)}]
retries = {number % 3}
{other if number % 4 else ""}
[backends.other]
servers = ["127.0.0.1:{origin}"]
"""


def memory_of(pid: int) -> int:
    """KB that are the process's own: not the shared records."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def reloads(folder: Path, *, count: int, seconds: float, kept: int, new: int, tunnels: int) -> Proof:
    """`count` reloads, evenly over `seconds`, each of another configuration."""
    certificate(folder / "site.pem")
    port, secure, extra = free_port(), free_port(), free_port()
    with ExitStack() as stack:
        to = int(stack.enter_context(Child("tests.ops.echo_origin")).line())
        balancer = stack.enter_context(served(folder, configuration(folder, port, secure, to, 0, extra)))
        load = stack.enter_context(Child("tests.ops.load", port, kept, new, tunnels, secure))
        wait_until(lambda: json.loads(load.ask())["requests"] > 100, 60, "the load")
        pids = {"supervisor": balancer.program.pid}
        pids |= {f"worker {n}": pid for n, pid in enumerate(balancer.workers)}
        memory: dict[str, list[int]] = {name: [] for name in pids}
        began = time.monotonic()
        for number in range(1, count + 1):
            line = balancer.reload(configuration(folder, port, secure, to, number, extra))
            assert " runs: " in line, line
            for name, pid in pids.items():
                memory[name].append(memory_of(pid))
            time.sleep(max(0.0, began + number * seconds / count - time.monotonic()))
        took = time.monotonic() - began
        assert [balancer.program.pid, *balancer.workers] == list(pids.values())
        seen = json.loads(load.end())
    return Proof(seconds=took, rounds=count, memory=memory, **_seen(seen))


def kills(folder: Path, *, count: int, kept: int, new: int) -> Proof:
    """A worker killed in the middle of its work, `count` times, one after the other."""
    certificate(folder / "site.pem")
    port, secure = free_port(), free_port()
    victims: set[int] = set()
    held = 0
    with ExitStack() as stack:
        to = int(stack.enter_context(Child("tests.ops.echo_origin")).line())
        balancer = stack.enter_context(served(folder, configuration(folder, port, secure, to, 0, free_port())))
        load = stack.enter_context(Child("tests.ops.load", port, kept, new, 0, secure))
        began = time.monotonic()
        for number in range(count):
            done = json.loads(load.ask())["requests"]
            wait_until(lambda done=done: json.loads(load.ask())["requests"] > done + 200, 60, "requests")  # type: ignore[misc]
            workers = balancer.workers
            victim = workers[number % len(workers)]
            os.kill(victim, signal.SIGSTOP)  # so that what it has now is what it dies with
            wait_until(lambda victim=victim: state(victim) == "T", 10, "the stop")  # type: ignore[misc]
            ports = clients_of(victim, {port, secure})
            victims |= ports
            held += len(ports)
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda w=workers: len(set(balancer.workers) - set(w)) == 1, 30, "the successor")  # type: ignore[misc]
        took = time.monotonic() - began
        seen = json.loads(load.end())
    return Proof(seconds=took, rounds=count, victims=victims, held=held, **_seen(seen))


def state(pid: int) -> str:
    """Of a process: R, S, T, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def clients_of(pid: int, ports: set[int]) -> set[int]:
    """Clients' ports of the connections to `ports` that a process has accepted."""
    inodes = {link[8:-1] for fd in Path(f"/proc/{pid}/fd").iterdir() if (link := os.readlink(fd)).startswith("socket:")}
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        local, remote = (int(end.rpartition(":")[2], 16) for end in parts[1:3])
        if local in ports and remote and parts[9] in inodes:
            found.add(remote)
    return found


def _seen(seen: dict[str, Any]) -> dict[str, Any]:
    return {name: seen[name] for name in ("requests", "connections", "echoes", "slowest", "failures", "failed_ports")}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.ops.proofs")
    parser.add_argument("what", choices=("reloads", "kills"))
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kept", type=int, default=24)
    parser.add_argument("--new", type=int, default=12)
    parser.add_argument("--tunnels", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "reloads":
            proof = reloads(
                Path(folder), count=options.count or 100, seconds=options.seconds,
                kept=options.kept, new=options.new, tunnels=options.tunnels,
            )  # fmt: skip
        else:
            proof = kills(Path(folder), count=options.count or 20, kept=options.kept, new=options.new)
    print(f"{proof.rounds} {options.what} in {proof.seconds:.1f} s: ", end="")
    print(f"requests {proof.requests}, connections {proof.connections}, echoes {proof.echoes}")
    print(f"slowest {proof.slowest:.3f} s, failures {sum(proof.failures.values())} {proof.failures}")
    if options.what == "kills":
        others = Counter(port for port in proof.failed_ports if port not in proof.victims)
        print(f"connections on killed workers {proof.held}, failures on any other {sum(others.values())}")
    for name, seen in proof.memory.items():
        tenth = max(1, len(seen) // 10)
        print(f"{name}: KB {seen[::tenth]} last {seen[-1]}, growth {proof.growth[name]}")


if __name__ == "__main__":
    main()
