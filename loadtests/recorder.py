"""Runs inside Locust: counts every request by the second, in each process, and brings it together in the master.

Locust's own statistics hold percentiles of a whole run. A campaign is judged by what happened around a fault, and by
which server answered, so each process keeps `Second`s of its own; they travel to the master with Locust's regular
reports, from other machines too. The master tells its workers the seed and the goal, which those of other machines
cannot know, and writes all as JSON when the test is over.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests.timeline import Second, bucket


class Recorder:
    """Seconds by the wall clock; of this process, and in the master of all."""

    def __init__(self, goal: float) -> None:
        self._goal = goal
        self.seconds: dict[int, Second] = {}
        self.began = 0.0  # 0 in a worker
        self.workers: Counter[str] = Counter()  # in the master: requests of each
        self.busy: dict[int, float] = {}  # in the master: cores that the busiest worker used, by second
        self._looked = time.monotonic(), time.process_time()

    def _now(self) -> Second:
        stamp = int(time.time())
        second = self.seconds.get(stamp)
        if second is None:
            second = self.seconds[stamp] = Second()
        return second

    def request(self, response_time: float, response: Any, exception: BaseException | None, **_: Any) -> None:
        """Locust's event of a finished request; times in milliseconds."""
        second, seconds = self._now(), response_time / 1e3
        second.requests += 1
        server = response.headers.get("X-Origin") if response is not None and response.headers else None
        if server:
            second.servers[server] += 1
        if exception is None:
            second.latency[bucket(seconds)] += 1
            second.good += seconds <= self._goal
        else:
            status = getattr(response, "status_code", 0)
            second.errors[f"status {status}" if status else type(exception).__name__] += 1

    def mark(self, name: str) -> None:
        """Counts a fact that only a journey knows, such as a basket that was lost."""
        self._now().marks[name] += 1

    def packed(self) -> dict[str, Any]:
        return {str(stamp): second.packed() for stamp, second in self.seconds.items()}

    def load(self) -> float:
        """Cores that this process used since it was asked last."""
        now = time.monotonic(), time.process_time()
        (clock, cpu), self._looked = self._looked, now
        return (now[1] - cpu) / max(now[0] - clock, 1e-3)

    def take(self, worker: str, packed: dict[str, Any], load: float) -> None:
        """Adds what a worker counted."""
        for stamp, data in packed.items():
            self.seconds.setdefault(int(stamp), Second()).add(Second.unpacked(data))
            self.workers[worker] += data["requests"]
        now = int(time.time())
        self.busy[now] = max(self.busy.get(now, 0.0), load)

    def written(self) -> dict[str, Any]:
        """What the master leaves behind, as JSON."""
        busy = {str(stamp): round(load, 3) for stamp, load in self.busy.items()}
        return {"began": self.began, "seconds": self.packed(), "workers": dict(self.workers), "busy": busy}


recorder = Recorder(1.0)


def install(goal: float, seed: int, seeded: Callable[[int], None], path: Path | None) -> None:
    """Hooks the recorder into Locust; `path` is where the master writes, None in a worker.

    `seeded` takes the seed, here and in a worker what its master says.
    """
    recorder._goal = goal
    seeded(seed)
    events.request.add_listener(recorder.request)

    @events.init.add_listener
    def ready(environment: Environment, **_: Any) -> None:
        def told(environment: Environment, msg: Any, **_: Any) -> None:
            recorder._goal = float(msg.data["goal"])
            seeded(int(msg.data["seed"]))

        if isinstance(environment.runner, WorkerRunner):
            environment.runner.register_message("campaign", told)

    @events.test_start.add_listener
    def started(environment: Environment, **_: Any) -> None:
        recorder.seconds.clear()
        runner = environment.runner
        if isinstance(runner, MasterRunner):  # before any of them has a user
            runner.send_message("campaign", {"goal": goal, "seed": seed})
        if not isinstance(runner, WorkerRunner):
            recorder.began = time.time()
            # the campaign counts its faults' times from this line
            print(f"campaign-started {recorder.began:.3f}", flush=True)

    @events.report_to_master.add_listener
    def report(client_id: str, data: dict[str, Any]) -> None:
        data["campaign"], data["campaign_load"] = recorder.packed(), recorder.load()
        recorder.seconds.clear()

    @events.worker_report.add_listener
    def collect(client_id: str, data: dict[str, Any]) -> None:
        recorder.take(client_id, data.get("campaign", {}), data.get("campaign_load", 0.0))

    @events.quit.add_listener
    def write(exit_code: int | None = None, **_: Any) -> None:
        if path is not None and recorder.began:
            path.write_text(json.dumps(recorder.written()))
