"""How often an address may be wrong, in the table that all workers share and that outlives a reload."""

import time

from fastlb._core.xxh3 cimport xxh3_64
from fastlb.engine.rate_table cimport WINDOW_STEP, rate_window


cdef class Failures:
    """After `limit` failures within `window` seconds of the first one the rest of the window is closed to an address.

    holds: of the worker; None for a table of its own; name: tells it from others, over reloads; limit: 0 = nobody is
    ever closed out; clock: monotonic nanoseconds. May be called by any thread. O(1) a call.
    """

    def __init__(self, Holds holds, str name not None, limit, double window, clock=time.monotonic_ns):
        cdef bytes raw = name.encode()
        self.holds = Holds() if holds is None else holds
        self.seed = xxh3_64(<const char*>raw, len(raw))
        self.limit = min(limit, WINDOW_STEP - 1)
        self.window_ns = <uint64_t>(min(window, 3e9) * 1e9)
        self.clock = clock

    def closed(self, bytes address not None):
        """Seconds for which the address may not try; 0 = it may."""
        cdef uint64_t now, until
        if not self.limit:
            return 0.0
        now = self.clock()
        if rate_window(&self.holds.table, self._key(address), now, self.window_ns, 0, &until) < self.limit:
            return 0.0
        return (until - now) / 1e9

    def failed(self, bytes address not None):
        """Counts a failure."""
        cdef uint64_t until
        if self.limit:
            rate_window(&self.holds.table, self._key(address), self.clock(), self.window_ns, 1, &until)

    cdef uint64_t _key(self, bytes address) noexcept:
        cdef uint64_t joined[2]
        joined[0] = self.seed
        joined[1] = xxh3_64(<const char*>address, len(address))
        return xxh3_64(<const char*>joined, sizeof(joined)) | 1
