"""How a cell is driven: by a generator in a process of its own, pinned, whose connections are open before it counts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from fastlb.bench.cells import Workload
from fastlb.bench.peers import Proxy
from fastlb.bench.process import cpu_seconds, tree


@dataclass(slots=True)
class Found:
    """What a generator counted; see `fastlb.bench.load.Generator.run`. `spent` is the proxy's CPU time meanwhile."""

    answers: int
    errors: int
    refused: int
    seconds: float
    late: float
    latencies: dict[int, int]
    bytes: int = 0
    prepared: int = 0  # answers before anything counted
    spent: float = 0.0


class Load:
    """The generator of one cell. Connections are open, and each has had one answer, when this is made."""

    def __init__(self, proxy: Proxy, cell: Workload, rate: float = 0.0, connections: int = 0) -> None:
        self._proxy = proxy
        plan = {
            "port": proxy.port,
            "request": cell.request.hex(),
            "connections": connections or cell.connections,
            "close": cell.close,
            "upgrade": cell.upgrade.hex(),
            "expect": cell.expect,
            "tls": proxy.scene.name if proxy.scene.tls else "",
            "resume": cell.resumed,
            "rate": rate,
            "core": proxy.setup.load_core,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastlb.bench.drive"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.prepared = int(self._ask(json.dumps(plan)))

    @property
    def pid(self) -> int:
        """Of the generator."""
        return self._process.pid

    def _ask(self, line: str) -> str:
        """Says a line and returns the answer's."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            assert self._process.stderr is not None
            told = self._process.stderr.read().strip().splitlines()
            self.stop()
            raise RuntimeError(f"{self._proxy.name}: the generator ended: {told[-1] if told else 'it said nothing'}")
        return answer

    def run(self, seconds: float) -> Found:
        """Drives for so long."""
        assert self._proxy.child is not None
        pids = tree(self._proxy.child.pid)
        before = cpu_seconds(pids)
        found = Found(**json.loads(self._ask(f"{seconds}")), prepared=self.prepared)
        found.spent = cpu_seconds(pids) - before
        found.latencies = {int(us): n for us, n in found.latencies.items()}  # JSON's keys are texts
        return found

    def stop(self) -> None:
        """Closes the connections."""
        self._process.kill()
        self._process.communicate()


def drive(proxy: Proxy, cell: Workload, seconds: float, rate: float) -> Found:
    """By the generator, at `rate` or, where that is 0, as fast as answers come."""
    load = Load(proxy, cell, rate)
    try:
        return load.run(seconds)
    finally:
        load.stop()


# By a cell's kind; `idle` is no drive but a look at memory.
DRIVERS: dict[str, Callable[[Proxy, Workload, float, float], Found]] = {"load": drive, "latency": drive}
