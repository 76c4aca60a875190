"""What servers and clients can do to a balancer, under constant load of requests that may be sent twice.

    python -m tests.scenarios.faults            all of it, for minutes; prints what it measured
    (the tests of test_faults.py run a short form)

One server of three stands behind a proxy that does harm to it. As long as the others are well no client sees an error.
How long requests take once that server is ejected is measured by tail.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastlb.testing import FaultyProxy
from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import BrokenOff, Message, dial

BODY = b"well"
GARBAGE = [b"\x00\xff" * 40, b"HTTP/9.9 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"\r\n" * 50]
BACKEND: dict[str, object] = {
    "retry": {
        "on": ["connect", "closed", "timeout", "malformed", "500-599"],
        "try_timeout": "500ms",
        "budget_min": 50,
    },
    "outlier": {"base": "200ms", "max": "1s", "max_ejected": "34%", "slow_start": "0"},
}


@dataclass
class Load:
    """Clients that ask without a pause, each on a kept connection."""

    address: tuple[str, int]
    clients: int = 4
    errors: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self.clients)]

    def _run(self) -> None:
        wire = dial(self.address)
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                answer = wire.get("/").response()
                if answer.status != 200 or answer.body != BODY:
                    self.errors.append(f"{answer.status} {answer.text[:200]}")
            except (BrokenOff, OSError, AssertionError) as error:
                self.errors.append(repr(error)[:200])
                wire.close()
                wire = dial(self.address)
            self.times.append(time.monotonic() - began)
        wire.close()

    def wait(self, requests: int, within: float = 60.0) -> None:
        """Until so many more requests have ended."""
        target, end = len(self.times) + requests, time.monotonic() + within
        while len(self.times) < target:
            assert time.monotonic() < end, f"{len(self.times)} of {target} requests; errors: {self.errors[:3]}"
            time.sleep(0.002)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


class Patient:
    """The server that harm is done to."""

    def __init__(self) -> None:
        self.says: Callable[[Message], bytes] = self.well
        self.server = Answering(lambda request: self.says(request))

    def well(self, request: Message) -> bytes:
        return BODY


@contextmanager
def site(
    balancers: Balancers, rules: dict[str, object] = BACKEND, **more: object
) -> Iterator[tuple[Balancer, FaultyProxy, Patient]]:
    """Three servers, the first behind the proxy, and a balancer of two workers."""
    with ExitStack() as stack:
        patient = Patient()
        stack.callback(patient.server.stop)
        others = [stack.enter_context(Answering(lambda request: BODY)) for _ in range(2)]
        proxy = stack.enter_context(FaultyProxy(("127.0.0.1", patient.server.port)))
        servers = [proxy.name, *(other.address for other in others)]
        lb = balancers(*servers, backend=rules, global_={"workers": 2}, log={"access": "off"}, **more)
        yield lb, proxy, patient


def harm(proxy: FaultyProxy, patient: Patient, *, flaps: int) -> Iterator[str]:
    """One harm after the other; each stands until the next is asked for."""
    proxy.refusing = True
    proxy.cut_all()
    yield "refuses"
    proxy.refusing = False
    proxy.stalled = True
    yield "hangs"
    proxy.cut_all()
    proxy.stalled = False
    # Up to the end of the head: behind it the client has bytes of the answer, which nobody can take back.
    head = len(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
    for at in range(head):
        proxy.cut_down = at
        yield f"resets after {at} bytes"
    proxy.cut_down = None
    for garbage in GARBAGE:
        patient.says = lambda request, garbage=garbage: b"HTTP/" + garbage  # type: ignore[misc]
        yield "answers garbage"
    patient.says = lambda request: b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"
    yield "answers 500"
    patient.says = patient.well
    proxy.delay = 0.05
    yield "is slow"
    proxy.delay = 0.0
    for flap in range(flaps):
        proxy.refusing = flap % 2 == 0
        proxy.cut_all(with_reset=flap % 3 == 0)
        yield "flaps"
    proxy.refusing = False


# --- clients that are slow on purpose


def attack(address: tuple[str, int], connections: int) -> Iterator[tuple[str, list[object]]]:
    """Connections that ask slowly in one way after the other; they stay open until the next way."""
    ways = {
        "slowloris": ("GET / HTTP/1.1\r\nHost: x\r\nX-A: ", 0),
        "slow body": ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx", 0),
        "slow read": ("GET /large HTTP/1.1\r\nHost: x\r\n\r\n", 1024),
        "range": ("GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=0-" + ",5-" * 1000 + "1\r\n\r\n", 0),
    }
    for name, (text, buffer) in ways.items():
        wires: list[object] = [dial(address, receive_buffer=buffer).send(text) for _ in range(connections)]
        yield name, wires
        for wire in wires:
            wire.close()  # type: ignore[attr-defined]


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def main() -> int:
    """The long form. Exit status 1 when a client saw an error or was held up."""
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        balancers = Balancers(Path(folder))
        with site(balancers) as (lb, proxy, patient), Load(lb.address, clients=8) as load:
            load.wait(2000)
            healthy = percentile(load.times, 0.99)
            print(f"healthy: p99 {healthy * 1e3:.1f} ms")
            spans: dict[str, list[float]] = {}
            for name in harm(proxy, patient, flaps=1000):
                before = len(load.times)
                load.wait(5 if name == "flaps" else 200, 120)
                spans.setdefault(name, []).extend(load.times[before:])
            for name, times in spans.items():
                print(f"{name:24} {len(times):6} requests, p99 {percentile(times, 0.99) * 1e3:.1f} ms")
            bad += len(load.errors)
            print(f"{len(load.times)} requests, {len(load.errors)} errors")
        if shutil.which("slowhttptest"):
            with site(balancers) as (lb, _, _):
                for way in (["-H"], ["-B"], ["-X"], ["-R"]):
                    command = ["slowhttptest", *way, "-c", "500", "-r", "200", "-l", "10", "-u", lb.url + "/"]
                    with Load(lb.address) as load:
                        load.wait(500)
                        alone = percentile(load.times, 0.99)
                        before = len(load.times)
                        subprocess.run(command, capture_output=True, check=False, timeout=60)
                        beside = percentile(load.times[before:], 0.99)
                        print(f"slowhttptest {way[0]}: p99 {alone * 1e3:.1f} ms, under attack {beside * 1e3:.1f} ms, "
                              f"{len(load.errors)} errors")  # fmt: skip
                        bad += len(load.errors)
        balancers.end()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
