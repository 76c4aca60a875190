"""How long requests take while one server of three is harmed, once that server is ejected.

    python -m tests.scenarios.tail [KIND …]     about ten seconds a kind of harm; alone on a machine

Requests come at a fixed rate whatever becomes of those before them, from a process of its own, and count from when they
were due. Exit status 1 when a client saw an error, a server was not ejected, or the 99th percentile after the ejection
is above three times the one of before the harm.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastlb.testing import FaultyProxy
from tests.e2e.balancer import Balancer, Balancers
from tests.scenarios.faults import BACKEND, BODY, GARBAGE, Patient, site

RATE = 400.0  # requests a second
CONNECTIONS = 16
SECONDS = 4.0
WORST = 3.0  # p99 after to before
# Ejected for ten seconds, as by default. Servers are compared every two seconds, however quick they are.
RULES = {**BACKEND, "outlier": {"interval": "2s", "latency_floor": "5ms", "min_requests": 20}}


@dataclass
class Span:
    """What clients saw in some seconds."""

    answers: int
    failed: int
    p50: float  # milliseconds
    p99: float
    most: float


class Clients:
    """The load generator as a process."""

    def __init__(self, port: int) -> None:
        core = max(os.sched_getaffinity(0))
        request = b"GET / HTTP/1.1\r\nHost: tail.test\r\n\r\n"
        plan = {"port": port, "request": request.hex(), "connections": CONNECTIONS, "rate": RATE, "close": False,
                "upgrade": "", "expect": 0, "tls": "", "resume": False, "core": core}  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastlb.bench.drive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert int(self._ask(json.dumps(plan))) == CONNECTIONS

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def run(self, seconds: float) -> Span:
        found = json.loads(self._ask(str(seconds)))
        times = sorted((int(us), n) for us, n in found["latencies"].items())
        self._process.kill()
        self._process.communicate()
        return Span(
            found["answers"],
            found["errors"] + found["refused"],
            share(times, 0.5),
            share(times, 0.99),
            times[-1][0] / 1000,
        )


def share(times: list[tuple[int, int]], part: float) -> float:
    """The quantile in milliseconds."""
    left = part * sum(n for _, n in times)
    for us, n in times:
        left -= n
        if left <= 0:
            return us / 1000
    return 0.0


def drive(lb: Balancer, seconds: float = SECONDS) -> Span:
    return Clients(lb.ports["web"]).run(seconds)


@contextmanager
def flapping(proxy: FaultyProxy) -> Iterator[None]:
    """The server comes and goes, fifty times a second."""
    over = threading.Event()

    def flap() -> None:
        for flap in range(10**9):
            proxy.refusing = flap % 2 == 0
            proxy.cut_all(with_reset=flap % 3 == 0)
            if over.wait(0.02):
                return

    thread = threading.Thread(target=flap, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def says(answer: bytes) -> Callable[[FaultyProxy, Patient], None]:
    def harm(proxy: FaultyProxy, patient: Patient) -> None:
        patient.says = lambda request: answer

    return harm


def refuse(proxy: FaultyProxy, patient: Patient) -> None:
    proxy.refusing = True
    proxy.cut_all()


def hang(proxy: FaultyProxy, patient: Patient) -> None:
    proxy.stalled = True


def cut(after: int) -> Callable[[FaultyProxy, Patient], None]:
    def harm(proxy: FaultyProxy, patient: Patient) -> None:
        proxy.cut_down = after

    return harm


def late(proxy: FaultyProxy, patient: Patient) -> None:
    patient.says = tenfold


def tenfold(request: object) -> bytes:
    time.sleep(0.03)
    return BODY


KINDS: dict[str, Callable[[FaultyProxy, Patient], None] | None] = {
    "refuses": refuse,
    "hangs": hang,
    "resets at once": cut(0),
    "resets in the head": cut(20),
    "answers garbage": says(b"HTTP/" + GARBAGE[0]),
    "answers 500": says(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"),
    "is ten times slower": late,
    "flaps": None,
}


def measure(balancers: Balancers, name: str) -> bool:
    """One kind of harm; whether all held."""
    with site(balancers, rules=RULES) as (lb, proxy, patient):
        healthy = drive(lb)
        harm = KINDS[name]
        with flapping(proxy) if harm is None else _once(harm, proxy, patient):
            meanwhile, ejected = [], False
            while not ejected and len(meanwhile) < 8:
                meanwhile.append(drive(lb, 1.5))
                ejected = any("server app/s0 is EJECTED" in line for line in lb.program.lines)
            after = drive(lb)
        proxy.stalled = False
    failed = healthy.failed + after.failed + sum(span.failed for span in meanwhile)
    ratio = after.p99 / healthy.p99
    held = ejected and not failed and ratio <= WORST
    answers = healthy.answers + after.answers + sum(span.answers for span in meanwhile)
    print(f"{name:20} p99 {healthy.p99:7.2f} ms healthy, {max(s.p99 for s in meanwhile):8.2f} until it is ejected, "
          f"{after.p99:7.2f} after ({ratio:.2f} times; p50 {healthy.p50:.2f} and {after.p50:.2f}, "
          f"most {after.most:.1f}); {answers} answers, {failed} failed{'' if ejected else '; not ejected'}"
          f"{'' if held else '   <-- does not hold'}", flush=True)  # fmt: skip
    return held


@contextmanager
def _once(harm: Callable[[FaultyProxy, Patient], None], proxy: FaultyProxy, patient: Patient) -> Iterator[None]:
    harm(proxy, patient)
    yield


def main(names: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        balancers = Balancers(Path(folder))
        held = [measure(balancers, name) for name in names or KINDS]
        balancers.end()
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
