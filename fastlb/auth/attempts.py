"""How often somebody may be wrong."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

KEPT = 16384  # addresses; beyond, who failed longest ago is forgotten


class Attempts:
    """Failures by address: after `limit` within `window` seconds of the first one, the rest of the window is closed.

    limit: 0 = nobody is ever closed out. O(1) a call, at most KEPT addresses.
    """

    def __init__(self, limit: int, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._window = window
        self._clock = clock
        self._failed: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def closed(self, address: bytes) -> float:
        """Seconds for which the address may not try; 0 = it may."""
        count, since = self._failed.get(address, (0, 0.0))
        if not self._limit or count < self._limit:
            return 0.0
        left = since + self._window - self._clock()
        if left <= 0:
            del self._failed[address]
            return 0.0
        return left

    def failed(self, address: bytes) -> None:
        """Counts a failure."""
        if not self._limit:
            return
        now = self._clock()
        count, since = self._failed.pop(address, (0, now))
        if now - since >= self._window:
            count, since = 0, now
        self._failed[address] = (count + 1, since)
        if len(self._failed) > KEPT:
            self._failed.popitem(last=False)

    def __len__(self) -> int:
        return len(self._failed)
