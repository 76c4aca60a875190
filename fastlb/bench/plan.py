"""What a comparison measures and how long it takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from fastlb.bench.cells import Workload
from fastlb.bench.workloads import NAMED

OVERHEAD = 0.35  # seconds around a measurement: the generator's start, its connections
START = 1.4  # of a proxy, its check, its warming up and the end of its log
WARM = 0.3
SHORTEST = 0.6  # of a measurement, with as many rounds as there should be; 1 where there are fewer
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, how long and how often."""

    workloads: tuple[Workload, ...]
    peers: tuple[str, ...]
    seconds: float
    rounds: int
    log: bool = True

    def scenes(self) -> list[str]:
        return list(dict.fromkeys(w.scene for w in self.workloads))

    def part(self, scene: str) -> float:
        """Seconds that one round of one scene takes, about."""
        cells = [w for w in self.workloads if w.scene == scene]
        taken = (0.0 if w.kind == "idle" else max(self.seconds, w.least) for w in cells)
        return len(self.peers) * (START + len(cells) * OVERHEAD + sum(taken))

    def duration(self) -> float:
        """Seconds that it takes, about."""
        return self.rounds * sum(self.part(scene) for scene in self.scenes())

    def packed(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "workloads": {w.name: w.connections for w in self.workloads}, "peers": list(self.peers)}

    @classmethod
    def unpacked(cls, data: dict[str, Any]) -> Plan:
        cells = tuple(replace(NAMED[name], connections=n) for name, n in data["workloads"].items())
        return cls(cells, tuple(data["peers"]), data["seconds"], data["rounds"], data["log"])


def bounded(plan: Plan, minutes: float) -> Plan:
    """At least two rounds of SHORTEST; fewer rounds than asked first, shorter ones then, fewer cells never."""
    for least, shortest in ((ROUNDS, plan.seconds), (ROUNDS, SHORTEST), (2, SHORTEST)):
        while plan.duration() > minutes * 60 and plan.rounds > least:
            plan = replace(plan, rounds=plan.rounds - 1)
        while plan.duration() > minutes * 60 and plan.seconds > shortest:
            plan = replace(plan, seconds=max(shortest, round(plan.seconds - 0.1, 1)))
    return plan
