"""Overload of workers as events. The workers take their steps by themselves; this only tells of them."""

from __future__ import annotations

import asyncio

from fastlb.control.events import Events
from fastlb.control.memory import STEPS, overload_steps
from fastlb.control.region import Region

INTERVAL = 0.25  # seconds between two looks


class OverloadWatch:
    """Of all workers of a region."""

    def __init__(self, region: Region, events: Events, slots: int) -> None:
        self._region = region
        self._events = events
        self._seen = [0] * slots
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._look)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._look)
        for slot, before in enumerate(self._seen):
            now = overload_steps(self._region, slot)
            if now.step == before:
                continue
            self._seen[slot] = now.step
            text = "overload is over"
            if now.step:
                text = f"overload: step {now.step} of 4, {STEPS[now.step]}: {now.resource} at {now.pressure:.0%}"
            self._events.add(
                "worker", f"worker {slot}", text, level="warning" if now.step else "info",
                old=str(before), new=str(now.step),
            )  # fmt: skip
