"""Several processes over one shared region: exact weighted round robin, limits, ledgers of the dead."""

from __future__ import annotations

import collections
import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fastlb.balance.probe import Probe, memory_size
from tests.helpers import ROOT

SERVERS = [("a", 5), ("b", 3), ("c", 1), ("d", 1)]

# A worker: says it is ready, waits for a line, does what it was told, says what it saw.
WORKER = """
import json, mmap, sys
from fastlb.balance.probe import Probe
fd, worker, workers, servers, task = json.loads(sys.argv[1])
memory = mmap.mmap(fd, 0)
p = Probe(task["algorithm"], servers, memory=memory, worker=worker, workers=workers, first=False, **task["options"])
print("ready", flush=True)
sys.stdin.readline()
if task["do"] == "pick":
    print(json.dumps(p.select_many(task["times"])))
elif task["do"] == "own":
    owners = len(memory) - len(servers)  # a byte a server: who holds it
    taken = clashes = 0
    while taken < task["times"]:
        slot = p.select()
        if slot >= 0:
            taken += 1
            clashes += memory[owners + slot] != 0
            memory[owners + slot] = worker + 1
            clashes += memory[owners + slot] != worker + 1
            memory[owners + slot] = 0
            p.release(slot)
    print(json.dumps([taken, clashes]))
else:
    while True:
        held = [p.select() for _ in range(7)]
        for slot in held:
            p.release(slot)
"""


class Group:
    """Shared memory and the workers on it."""

    def __init__(self, workers: int, servers: list[tuple[str, int]], **task: object) -> None:
        size = memory_size(len(servers), workers) + len(servers)
        self.fd = os.memfd_create("balance-test")
        os.ftruncate(self.fd, size)
        self.memory = mmap.mmap(self.fd, size)
        self.probe = Probe(str(task["algorithm"]), servers, memory=self.memory, worker=workers - 1, workers=workers)
        self.workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, json.dumps([self.fd, i, workers, servers, {"options": {}, **task}])],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[self.fd], cwd=ROOT, text=True,
            )
            for i in range(workers - 1)
        ]  # fmt: skip
        for worker in self.workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"

    def go(self) -> None:
        for worker in self.workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()

    def results(self) -> list[Any]:
        return [json.loads(w.stdout.readline()) for w in self.workers if w.stdout is not None]


@contextmanager
def group(workers: int, servers: list[tuple[str, int]], **task: object) -> Iterator[Group]:
    """`workers` counts this process, the last one."""
    made = Group(workers, servers, **task)
    try:
        yield made
    finally:
        for worker in made.workers:
            worker.kill()
            worker.wait()
            worker.stdin.close()
            worker.stdout.close()
        os.close(made.fd)


@pytest.mark.parametrize(("algorithm", "expected"), [("weighted_round_robin", [5, 3, 1, 1]), ("round_robin", [1] * 4)])
def test_round_robin_is_exact_over_all_processes(algorithm: str, expected: list[int]) -> None:
    times = 20_000
    with group(4, SERVERS, algorithm=algorithm, do="pick", times=times) as g:
        g.go()
        mine = g.probe.select_many(times)
        picks = [mine, *g.results()]
    counts = collections.Counter(slot for order in picks for slot in order)
    assert sum(counts.values()) == 4 * times
    assert [counts[i] for i in range(4)] == [4 * times * w // sum(expected) for w in expected]
    assert [g.probe.read(i)["inflight"] for i in range(4)] == [counts[i] for i in range(4)]
    for i, order in enumerate([picks[-1], mine]):  # each ledger row is its own worker's
        own = collections.Counter(order)
        assert g.probe.ledger(2 + i) == [own[slot] for slot in range(4)]


@pytest.mark.parametrize("algorithm", ["two_choices", "least_connections", "round_robin"])
def test_limits_hold_over_all_processes(algorithm: str) -> None:
    """With a limit of 1 a server is a lock: nobody ever meets another on it."""
    with group(4, SERVERS, algorithm=algorithm, do="own", times=5_000) as g:
        for i in range(4):
            g.probe.write(i, limit=1)
        held = [g.probe.select(), g.probe.select()]  # two places left for three workers
        for slot in held:
            g.memory[len(g.memory) - 4 + slot] = 255
        g.go()
        for taken, clashes in g.results():
            assert (taken, clashes) == (5_000, 0)
        for slot in held:
            g.probe.release(slot)
    assert [g.probe.read(i)["inflight"] for i in range(4)] == [0] * 4
    assert [g.probe.ledger(w) for w in range(4)] == [[0] * 4] * 4


def test_least_connections_sees_all_processes() -> None:
    with group(3, [(f"s{i}", 1) for i in range(8)], algorithm="least_connections", do="pick", times=800) as g:
        g.go()
        g.results()
        loads = [g.probe.read(i)["inflight"] for i in range(8)]
    assert sum(loads) == 1600
    assert max(loads) - min(loads) <= 4


def test_what_a_killed_worker_had_is_given_back() -> None:
    for _ in range(5):
        with group(3, SERVERS, algorithm="two_choices", do="forever") as g:
            held = g.probe.select_many(40)
            g.go()
            for worker in g.workers:
                while not any(g.probe.ledger(g.workers.index(worker))):
                    assert worker.poll() is None
                worker.send_signal(signal.SIGKILL)
                worker.wait()
            for i in range(2):
                g.probe.reclaim(i)
            counts = collections.Counter(held)
            loads = [g.probe.read(i)["inflight"] for i in range(4)]
            # A worker that died between ledger and counter leaves one too few at most, never one too many.
            assert all(load <= counts[i] for i, load in enumerate(loads))
            assert sum(loads) >= 40 - 2
            assert [g.probe.ledger(i) for i in range(2)] == [[0] * 4] * 2
