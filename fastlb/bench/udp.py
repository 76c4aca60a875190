"""The UDP cells: datagrams both ways or one way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fastlb.bench.cells import Workload
from fastlb.bench.drivers import Found
from fastlb.bench.origin import Origin
from fastlb.bench.peers import Proxy
from fastlb.bench.process import cpu_seconds, free_ports, tree
from fastlb.bench.scene import Scene

SETTLE = 0.2  # seconds of traffic before it counts: flows begin, once
TRIES = 50


@dataclass(frozen=True, slots=True)
class UdpWorkload(Workload):
    """`connections` clients that each keep `window` datagrams of `length` bytes under way.

    `reuse`: answers after which a client takes another port; `one_way`: nothing is answered.
    """

    kind: str = "udp"
    unit: str = "datagram"
    window: int = 1
    length: int = 64
    reuse: int = 0
    one_way: bool = False


UDP = (
    UdpWorkload("udp", "UDP: 64 clients, one query at a time", scene="udp", unit="exchange"),
    UdpWorkload("udp-1000", "UDP: 1,000 clients, one query at a time", connections=1000, scene="udp", unit="exchange"),
    UdpWorkload("udp-window", "UDP: 64 clients, 8 queries under way", window=8, scene="udp", unit="exchange"),
    UdpWorkload(
        "udp-bulk", "UDP: 16 clients, 32 of 1,200 bytes", connections=16, window=32, length=1200, scene="udp",
        unit="exchange",
    ),
    UdpWorkload(
        "udp-oneway", "UDP: 16 senders of 1,200 bytes, one way", connections=16, window=32, length=1200, one_way=True,
        scene="udp",
    ),
    UdpWorkload("udp-query", "UDP: a port for each query", reuse=1, scene="udp-query", unit="exchange"),
    UdpWorkload(
        "udp-packet", "UDP: messages to the next server, one way", connections=16, window=32, length=200, one_way=True,
        scene="udp-packet",
    ),
)  # fmt: skip


def _scene(flows: str) -> Callable[[Scene, Origin, Path], Scene]:
    return lambda base, _origin, _pem: replace(
        base, mode="udp", servers=free_ports(2, socket.SOCK_DGRAM), weights=(), tls=None, flows=flows, extra=""
    )


SCENES = {"udp": _scene(""), "udp-query": _scene("query"), "udp-packet": _scene("packet")}


def drive(proxy: Proxy, cell: Workload, seconds: float, rate: float) -> Found:
    """Clients and servers in a process of their own; `rate` is for others."""
    assert isinstance(cell, UdpWorkload) and proxy.child is not None
    plan = {
        "core": proxy.setup.load_core,
        "port": proxy.port,
        "servers": proxy.scene.servers,
        "cell": {**asdict(cell), "request": "", "upgrade": ""},
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "fastlb.bench.udp", json.dumps(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdout.readline()  # it has settled
        pids = tree(proxy.child.pid)
        before = cpu_seconds(pids)
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        spent = cpu_seconds(pids) - before
    finally:
        out, told = process.communicate()
    if not line:
        raise RuntimeError(f"{proxy.name}: the generator ended: {told.strip()[-200:]}{out}")
    arrived, lost, elapsed = json.loads(line)
    # what is given up now and then is the nature of datagrams; much of it would be a measurement of something else
    errors = lost if lost * 100 > arrived else 0
    return Found(arrived, errors, 0, elapsed, 0.0, {}, spent=spent)


DRIVERS = {"udp": drive}


def main() -> None:
    """The process: settles, and drives for as many seconds as it is told by a line."""
    from fastlb.bench.udp_load import Datagrams

    plan = json.loads(sys.argv[1])
    os.sched_setaffinity(0, {plan["core"]})
    cell = plan["cell"]
    load = Datagrams(
        plan["port"], plan["servers"], clients=cell["connections"], window=cell["window"], size=cell["length"],
        reuse=cell["reuse"], one_way=cell["one_way"],
    )  # fmt: skip
    for _ in range(TRIES):
        if load.run(SETTLE)[0]:  # a balancer may be bound before it reads
            break
    print("settled", flush=True)
    seconds = sys.stdin.readline()
    if seconds:
        print(json.dumps(load.run(float(seconds))), flush=True)


if __name__ == "__main__":
    main()
