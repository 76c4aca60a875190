"""Slow start: the weight of a server that came back grows from 10 % to full."""

from __future__ import annotations

import asyncio

from fastlb.control.region import FULL_RAMP, Region

FLOOR = 0.1  # Envoy's min_weight_percent
STEPS = 20  # of a whole ramp; each makes every worker rebuild the backend's table


def factor(elapsed: float, window: float) -> float:
    """Share of the weight `elapsed` seconds into a slow start of `window` seconds, 0.1-1.

    max(10 %, t / window): Envoy's curve with aggression 1.
    """
    if window <= 0 or elapsed >= window:
        return 1.0
    return max(FLOOR, elapsed / window)


class Ramp:
    """One slow start of one server: writes the factor to the region until it is full."""

    def __init__(self, region: Region, server: int, window: float) -> None:
        self._region = region
        self._server = server
        self._window = window
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._step()

    @property
    def finished(self) -> bool:
        return self._timer is None

    def cancel(self) -> None:
        """Stops where it is. May be repeated."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _step(self) -> None:
        share = factor(self._loop.time() - self._start, self._window)
        self._region.set_ramp(self._server, max(1, round(share * FULL_RAMP)))
        self._timer = self._loop.call_later(self._window / STEPS, self._step) if share < 1.0 else None


class Ramps:
    """The slow starts of all servers: whoever readmits a server begins one here, so that it never has two."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._running: dict[int, Ramp] = {}

    def start(self, server: int, window: float) -> None:
        """Begins anew; a window of 0 is full weight at once."""
        self.stop(server)
        if window <= 0:
            self._region.set_ramp(server, FULL_RAMP)
            return
        self._running = {index: ramp for index, ramp in self._running.items() if not ramp.finished}
        self._running[server] = Ramp(self._region, server, window)

    def stop(self, server: int) -> None:
        """Leaves the weight where it is. May be repeated."""
        ramp = self._running.pop(server, None)
        if ramp is not None:
            ramp.cancel()

    def close(self) -> None:
        """Stops all, where they are."""
        for server in list(self._running):
            self.stop(server)

    def finish(self, server: int) -> None:
        """Full weight at once, where a slow start is under way."""
        ramp = self._running.pop(server, None)
        if ramp is not None and not ramp.finished:
            ramp.cancel()
            self._region.set_ramp(server, FULL_RAMP)
