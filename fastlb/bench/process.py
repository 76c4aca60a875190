"""Child processes on a given core, and what the kernel says they used."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType


def free_port() -> int:
    """A loopback port that nobody listens on now.

    From below those that the kernel gives to outgoing connections, where there are such: a server that is stopped and
    started again finds it free.
    """
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(100 if low > 12_000 else 0):
        port = random.randrange(10_000, low)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return free_ports(1)[0]


def free_ports(count: int, kind: int = socket.SOCK_STREAM) -> tuple[int, ...]:
    """So many different loopback ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(type=kind)) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return tuple(sock.getsockname()[1] for sock in sockets)


def unwind_on_term() -> None:
    """From now on SIGTERM ends this program as an exception would: what it started is stopped on the way out."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


class Child:
    """A program, perhaps pinned to cores, its output in a file; `stop` ends it and all its descendants."""

    def __init__(
        self,
        argv: Sequence[str],
        core: int | set[int] | None,
        log: Path,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        cores = {core} if isinstance(core, int) else core
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
                preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
            )
        self.pid = self._process.pid

    def wait_port(self, port: int, seconds: float = 30.0, host: str = "127.0.0.1") -> None:
        """Returns once `host`:`port` accepts; raises with the program's output when it ended or never does."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection((host, port), 1.0).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{' '.join(self.argv)} does not listen:\n{self.log.read_text()}") from None
                time.sleep(0.02)  # nothing tells when another process listens

    def wait_udp(self, port: int, seconds: float = 30.0) -> None:
        """The same for datagrams: returns once a socket of this machine is bound to the port."""
        deadline = time.monotonic() + seconds
        while f":{port:04X} " not in Path("/proc/net/udp").read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(self.argv)} does not listen:\n{self.log.read_text()}")
            time.sleep(0.02)

    def ended(self) -> bool:
        """True once the program itself is gone."""
        return self._process.poll() is not None

    def stop(self) -> None:
        family = tree(self.pid)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(3.0)
            except subprocess.TimeoutExpired:
                pass  # what is left gets SIGKILL below
        for pid in family:
            if pid == self.pid and self._process.poll() is not None:
                continue
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()


def tree(root: int) -> list[int]:
    """`root` and its descendants alive now."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # the name of a program may hold spaces and brackets: what follows the last bracket is regular
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it ended meanwhile
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time of these processes with all their threads, user and system.

    From the scheduler's own accounting in nanoseconds (schedstat) where the kernel keeps it, else in ticks.
    """
    total = 0.0
    for pid in pids:
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
            spent = [int((task / "schedstat").read_text().split()[0]) for task in tasks]
            if any(spent):
                total += sum(spent) / 1e9
                continue
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except FileNotFoundError:
            continue
    return total


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a process tree: resident, proportional (shared pages divided among their users), private."""

    rss: int
    pss: int
    private: int


def memory(pids: Sequence[int]) -> Memory:
    """Memory of these processes from smaps_rollup; the kernel's own (socket buffers) is not in it."""
    sums = {"Rss": 0, "Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in text.splitlines()[1:]:
            name, _, rest = line.partition(":")
            if name in sums:
                sums[name] += int(rest.split()[0]) * 1024
    return Memory(sums["Rss"], sums["Pss"], sums["Private_Clean"] + sums["Private_Dirty"])
