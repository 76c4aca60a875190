"""One scenario against one peer: starts servers, peer and Locust, does the faults on time, returns the outcome."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastlb.bench.process import cpu_seconds, free_port, memory, tree
from loadtests.model import Scenario, users_at
from loadtests.peers import CHECKOUT, PEERS
from loadtests.stage import LiveStage, Servers
from loadtests.timeline import Outcome, Second, Usage

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
START = 60.0  # seconds that Locust may take to begin, other machines' workers included
END = 45.0  # seconds that it may take to end after the last users left


@dataclass(frozen=True, slots=True)
class Options:
    """How to run, whatever the scenario.

    `processes` of Locust on this machine; with `remote` workers from other machines are awaited instead, and peer and
    servers are reached at `address`.
    """

    seed: int = 1
    processes: int = 2
    remote: int = 0
    address: str = "127.0.0.1"
    master_port: int = 5557  # where remote workers come to; local ones get a free one


class Locust:
    """Locust headless, with its worker processes; its lines are kept, `started` and `ended` can be awaited."""

    def __init__(self, host: str, plan: dict[str, object], out: Path, options: Options) -> None:
        port = options.master_port if options.remote else free_port()
        argv = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", "--host", host]
        argv += ["--exit-code-on-error", "0", "--stop-timeout", "2", "--master-bind-port", str(port)]
        if options.remote:
            argv += ["--master", "--expect-workers", str(options.remote)]
        elif options.processes > 1:
            argv += ["--processes", str(options.processes), "--master-port", str(port)]
        environment = {
            "CAMPAIGN_PLAN": json.dumps({**plan, "seed": options.seed}),
            "CAMPAIGN_OUT": str(out),
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONUNBUFFERED": "1",
        }
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
            cwd=out.parent,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.lines: list[str] = []
        self.started, self.ended = threading.Event(), threading.Event()
        self.began = 0.0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip())
                if line.startswith("campaign-started "):
                    self.began = float(line.split()[1])
                    self.started.set()
        self.ended.set()
        self.started.set()  # nobody waits for what cannot come any more

    def await_start(self) -> None:
        if not self.started.wait(START) or not self.began:
            raise RuntimeError("Locust did not begin:\n" + "\n".join(self.lines[-30:]))

    def await_end(self, seconds: float) -> None:
        if not self.ended.wait(seconds):
            raise RuntimeError("Locust did not end:\n" + "\n".join(self.lines[-30:]))

    def stop(self) -> None:
        """Ends whatever is left of it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                pass  # its group gets SIGKILL
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()


class Sampler(threading.Thread):
    """Once a second: CPU and memory of the peer, CPU of Locust's processes, and of the whole machine."""

    def __init__(self, peer: int, locust: int, began: float) -> None:
        super().__init__(daemon=True)
        self._peer, self._locust, self._began = peer, locust, began
        self._over = threading.Event()
        self.usage: list[Usage] = []

    def stop(self) -> None:
        self._over.set()
        self.join(10.0)

    def run(self) -> None:
        before = self._read()
        while not self._over.wait(1.0):
            now = self._read()
            span = now[0] - before[0]
            loads = [(now[2][pid] - before[2].get(pid, now[2][pid])) / span for pid in now[2]]
            busy, every = now[3] - before[3], max(now[4] - before[4], 1)
            self.usage.append(
                Usage(
                    time.time() - self._began,
                    max(0.0, now[1] - before[1]) / span,
                    memory(tree(self._peer)).pss / 1e6,
                    sum(loads),
                    max(loads, default=0.0),
                    busy / every,
                )
            )
            before = now

    def _read(self) -> tuple[float, float, dict[int, float], int, int]:
        ticks = [int(t) for t in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        idle = ticks[3] + ticks[4]
        loads = {pid: cpu_seconds([pid]) for pid in tree(self._locust)}
        return time.monotonic(), cpu_seconds(tree(self._peer)), loads, sum(ticks) - idle, sum(ticks)


def run(scenario: Scenario, peer_name: str, seconds: int, peak: int, options: Options) -> Outcome:
    """Runs it; everything that was started is stopped again, whatever happens.

    What did not come about is told by `broken` in the outcome: the scenarios after it are run all the same.
    """
    outcome = Outcome(scenario.name, peer_name, seconds, peak, [Second() for _ in range(seconds)])
    outcome.capacity = scenario.pool.servers * scenario.pool.service.capacity
    try:
        _run(scenario, outcome, options)
    except (RuntimeError, OSError) as error:
        outcome.broken.append(str(error).strip()[-2000:] or type(error).__name__)
    _doubt(outcome)
    return outcome


def _run(scenario: Scenario, outcome: Outcome, options: Options) -> None:
    with tempfile.TemporaryDirectory(prefix="fastlb-load-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # a peer that gives up root still reaches its files
        servers = Servers(scenario.pool, folder, options.seed)
        peer = PEERS[outcome.peer](scenario.pool, servers.ports, folder, options.address)
        locust: Locust | None = None
        sampler: Sampler | None = None
        try:
            servers.start_all()
            peer.start()
            outcome.config, outcome.version = peer.config, peer.version()
            points = scenario.points(outcome.seconds, outcome.users)
            plan = {"points": points, "users": scenario.users, "goal": scenario.goal}
            locust = Locust(f"http://{options.address}:{peer.port}", plan, folder / "out.json", options)
            locust.await_start()
            assert peer.child is not None
            sampler = Sampler(peer.child.pid, locust.pid, locust.began)
            sampler.start()
            _faults(scenario, LiveStage(servers, peer), locust, outcome)
            locust.await_end(locust.began + outcome.seconds + END - time.time())
            sampler.stop()
            outcome.usage = [u for u in sampler.usage if u.at <= outcome.seconds]  # not while it goes home
            _collect(json.loads((folder / "out.json").read_text()), points, outcome, options)
            errors = [line for line in locust.lines if "/ERROR/" in line or line.startswith("Traceback")]
            outcome.broken += [f"in Locust: {errors[0]} ({len(errors)} such lines)"] if errors else []
            if peer.child.ended():
                outcome.broken.append("the balancer ended by itself")
        finally:
            if sampler is not None:
                sampler.stop()
            if locust is not None:
                locust.stop()
            peer.stop()
            servers.stop_all()


def _faults(scenario: Scenario, stage: LiveStage, locust: Locust, outcome: Outcome) -> None:
    for fault in sorted(scenario.faults, key=lambda f: f.at):
        due = locust.began + fault.at * outcome.seconds
        if locust.ended.wait(max(0.0, due - time.time())):
            outcome.broken.append(f"Locust ended before: {fault.label}")
            return
        outcome.faults.append((time.time() - locust.began, fault.label))
        try:
            fault.do(stage)
        except Exception as error:  # one of many kinds; it is told, and fails the run
            outcome.broken.append(f"{fault.label}: {error}")


def _collect(written: dict[str, Any], points: list[tuple[float, float]], outcome: Outcome, options: Options) -> None:
    """Puts what Locust wrote into the outcome: its time line, and who asked."""
    first = int(written["began"])
    line = [Second() for _ in range(outcome.seconds)]
    for stamp, packed in written["seconds"].items():
        index, second = max(int(stamp) - first, 0), Second.unpacked(packed)
        if index < outcome.seconds:
            line[index].add(second)
        else:  # after the end only what had been waiting is of interest, and of that what failed
            failed = sum(second.errors.values())
            line[-1].add(Second(requests=failed, errors=second.errors, marks=second.marks))
    for i, second in enumerate(line):
        second.users = users_at(points, i + 0.5)
    outcome.line = line
    outcome.workers = sum(1 for requests in written["workers"].values() if requests)
    expected = options.remote or (options.processes if options.processes > 1 else 0)
    if outcome.workers < expected:
        outcome.trouble.append(f"only {outcome.workers} of {expected} Locust workers asked anything")
    if options.remote:  # those processes cannot be looked at from here
        for usage in outcome.usage:
            usage.busiest_load = written["busy"].get(str(first + int(usage.at)), usage.busiest_load)


def _doubt(outcome: Outcome) -> None:
    """Says where the generator or the machine, and not the peer, may have been the limit."""
    if not outcome.usage:
        return
    busiest = statistics.median(u.busiest_load for u in outcome.usage)
    if busiest > 0.85:
        outcome.trouble.append(f"a Locust process used {busiest:.0%} of a core: latencies include its own delays")
    machine = statistics.median(u.machine for u in outcome.usage)
    if machine > 0.95:
        outcome.trouble.append(f"all cores were {machine:.0%} busy: the machine was the limit")


def make_peer_list(text: str) -> list[str]:
    """Names of peers from `a,b`; ends the run when there is no such peer, or it is not installed."""
    names = [n for n in text.split(",") if n]
    unknown = [n for n in names if n not in PEERS]
    if unknown or not names:
        raise SystemExit(f"no such peer: {', '.join(unknown) or '(none)'}; there are {', '.join(PEERS)}")
    for name in names:
        PEERS[name].program()
    return names
