"""The measuring itself: rounds of scenes of cells, every cell on all proxies in turn; it can be taken up again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from fastlb.bench import report
from fastlb.bench.cells import MANY, Workload, scene_of
from fastlb.bench.origin import Origin
from fastlb.bench.peers import Proxy
from fastlb.bench.plan import WARM, Plan
from fastlb.bench.scene import Scene
from fastlb.bench.workloads import NAMED, Sample, check, run


class Campaign:
    """One comparison. `done` holds the parts (round, scene) that need no measuring any more.

    A part is what is lost when a run is cut: its cells are measured on all proxies, freshly started, or not at all.
    """

    def __init__(self, plan: Plan, proxies: list[Proxy], base: Scene, origin: Origin, pem: Path) -> None:
        self._plan, self._proxies, self._base, self._origin, self._pem = plan, proxies, base, origin, pem
        self.samples: list[Sample] = []
        self.missing: list[str] = []  # peers that could not do a scene
        self.done: set[tuple[int, str]] = set()

    def left(self) -> list[tuple[int, str]]:
        """Parts that are to be measured yet, in order."""
        parts = [(n, scene) for n in range(self._plan.rounds) for scene in self._plan.scenes()]
        return [part for part in parts if part not in self.done]

    def run(self, until: float = float("inf"), least: int = 0) -> None:
        """Measures what is left; no part is begun that would end after `until` (monotonic seconds).

        One part is always begun, and `least` rounds are finished whatever the time.
        """
        told = -1
        for first, (number, scene) in enumerate(self.left()):
            late = time.monotonic() + self._plan.part(scene) > until
            if late and first and number >= least:
                return
            if number != told:
                print(f"round {number + 1} of {self._plan.rounds}", flush=True)
                told = number
            # each round another one is first
            turn = number % len(self._proxies)
            order = self._proxies[turn:] + self._proxies[:turn]
            for together in [[proxy] for proxy in order] if scene == MANY else [order]:
                self._scene(scene, together, number)
            self.done.add((number, scene))

    def _scene(self, name: str, turn: list[Proxy], number: int) -> None:
        cells = [w for w in self._plan.workloads if w.scene == name]
        warm = replace(cells[0], connections=min(cells[0].connections, self._base.connections))
        scene = scene_of(name, self._base, self._origin, self._pem)
        able: list[Proxy] = []
        try:
            for proxy in turn:
                if scene.mode not in proxy.modes:
                    continue
                try:
                    proxy.start(scene)
                    check(proxy)
                    able.append(proxy)
                    if warm.kind != "idle":
                        run(proxy, warm, WARM, number)  # caches, pools, branch predictors
                except RuntimeError as error:
                    self._unable(proxy, name, error)
                    able = [p for p in able if p is not proxy]
            measured = len(self.samples)
            for cell in cells:
                self._cell(cell, able, number)
            for proxy in able:
                self._logged(proxy, self.samples[measured:])
        finally:
            for proxy in turn:
                proxy.stop()

    def _unable(self, proxy: Proxy, scene: str, error: Exception) -> None:
        text = f"{proxy.name} cannot do {scene or 'the base scene'}: {str(error).strip()[:300]}"
        if text not in self.missing:
            self.missing.append(text)
            print(f"  {text}", flush=True)

    def _logged(self, proxy: Proxy, samples: list[Sample]) -> None:
        """An access log that lacks requests makes every figure of this start doubtful, and is said so."""
        if missing := proxy.unlogged():
            for sample in samples:
                if sample.proxy == proxy.name:
                    told = f"{missing} of {proxy.answered} requests are not in the access log"
                    sample.errors = "; ".join(filter(None, (sample.errors, told)))

    def _cell(self, cell: Workload, proxies: list[Proxy], number: int) -> None:
        rate = self._rate(cell, proxies, number) if cell.kind == "latency" else 0.0
        most = self._base.connections
        if cell.connections > most and cell.kind != "idle":
            note = f"{cell.title}: {most:,}, as the limit of descriptors (ulimit -n) allows for no more"
            self.missing += [note] if note not in self.missing else []
            cell = replace(cell, connections=most)
        for proxy in proxies:
            try:
                sample = run(proxy, cell, max(self._plan.seconds, cell.least), number, rate)
            except (RuntimeError, OSError) as error:
                sample = Sample(cell.name, proxy.name, number, errors=str(error).strip()[:300])
            self.samples.append(sample)
            print(f"  {cell.name:16} {proxy.name:9} {report.line(sample)}", flush=True)

    def _rate(self, cell: Workload, proxies: list[Proxy], number: int) -> float:
        """A share of what the slowest did at saturation; measured for it where no cell of this round has."""
        found = [s.values["rps"] for s in self.samples if (s.workload, s.round) == ("keepalive", number) and s.values]
        if len(found) < len(proxies):
            asking = replace(NAMED["keepalive"], request=cell.request)  # a user's own host and path
            found = [run(p, asking, max(0.5, WARM), number).values["rps"] for p in proxies]
        return cell.share * min(found)
