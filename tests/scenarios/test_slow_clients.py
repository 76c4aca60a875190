"""Slow clients, as slowhttptest plays them: whoever else asks is served as ever."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import dial
from tests.helpers import SLOWNESS, need, wait_until

CONNECTIONS = 40  # of each attack
# Ten ways to be slow: heads (slowloris), bodies, readers, ranges.
ATTACKS = {
    "slowloris": ("-H",),
    "slowloris, a byte now and then": ("-H", "-i", "1", "-x", "1"),
    "slowloris with POST": ("-H", "-t", "POST", "-i", "1"),
    "body": ("-B", "-i", "1"),
    "large body": ("-B", "-s", "1000000", "-i", "1", "-x", "10"),
    "body of a PUT": ("-B", "-t", "PUT", "-i", "1", "-x", "2"),
    "reader of a byte a second": ("-X", "-w", "1", "-y", "2", "-z", "1"),
    "reader of many answers": ("-X", "-k", "5", "-w", "512", "-y", "1024", "-z", "32"),
    "ranges": ("-R", "-a", "5", "-b", "2000"),
    "ranges without end": ("-R", "-t", "HEAD", "-a", "1", "-b", "10000"),
}


@contextmanager
def under_attack(lb: Balancer) -> Iterator[None]:
    """All ten at once, from when most of their connections are open."""
    program = need("slowhttptest")
    common = ("-c", str(CONNECTIONS), "-r", "200", "-l", "60", "-p", "5", "-v", "0")
    before = lb.descriptors()
    running = [
        subprocess.Popen(
            (program, *kind, *common, "-u", f"{lb.url}/large"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for kind in ATTACKS.values()
    ]
    try:
        # Those of the range attacks have had their answer and may be gone.
        wait_until(lambda: lb.descriptors() - before >= 7 * CONNECTIONS, what="the slow clients to be there")
        yield
    finally:
        for one in running:
            one.kill()
        for one in running:
            one.wait()


def test_ten_attacks_at_once_leave_the_service_to_others_unchanged(balancer: Balancers) -> None:
    with Answering(lambda request: b"x" * 300_000 if request.target == "/large" else b"fine") as server:
        # Longer deadlines than by default, so that nobody of them is cut off meanwhile.
        lb = balancer(server.address, timeouts={"header": "10m", "client": "10m"}, log={"access": "off"})
        slowest = 0.0
        with under_attack(lb):
            kept = dial(lb.address)
            for n in range(50):
                began = time.monotonic()
                assert kept.get(f"/{n}").response().text == "fine"
                with dial(lb.address) as client:
                    assert client.get("/new").response().text == "fine"
                slowest = max(slowest, time.monotonic() - began)
        assert slowest < 5 * SLOWNESS
        assert dial(lb.address).get("/after").response().text == "fine"
