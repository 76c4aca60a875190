"""When a second copy of a request is sent: after a fixed time, or when most others would have had their answer.

The percentile is that of the last ten to twenty seconds, in this worker, and is looked at once a second (Dean and
Barroso, "The Tail at Scale": a copy sent at the 95th percentile adds about 5 % of load).
"""

from libc.string cimport memcpy, memset

cdef enum:
    LOOK_MS = 1000
    ROLL_MS = 10000
    LEAST = 100                     # requests that make a percentile


cdef class Hedge:
    """One backend's, in one worker."""

    cdef uint32_t delay_ms(self, uint64_t now_ms) noexcept:
        if self.fixed_ms:
            return self.fixed_ms
        if now_ms - self.looked_ms >= LOOK_MS:
            self.looked_ms = now_ms
            self.look()
            if now_ms - self.rolled_ms >= ROLL_MS:
                self.rolled_ms = now_ms
                memcpy(self.early, self.later, sizeof(self.early))
                memcpy(self.later, self.buckets, sizeof(self.later))
        return self.live_ms

    cdef void look(self) noexcept:
        cdef uint64_t total = 0, below = 0, wanted
        cdef int b
        for b in range(BUCKETS):
            if self.buckets[b] < self.early[b]:     # the block was given to a new backend
                memset(self.early, 0, sizeof(self.early))
                memset(self.later, 0, sizeof(self.later))
                return
            total += self.buckets[b] - self.early[b]
        self.live_ms = 0
        if total < LEAST:
            return
        wanted = <uint64_t>(self.share * total)
        for b in range(BUCKETS):
            below += self.buckets[b] - self.early[b]
            if below >= wanted:
                break
        # The upper bound of the bucket in milliseconds, rounded up.
        self.live_ms = <uint32_t>((b + 1 if b < 8 else <uint64_t>(b % 8 + 9) << (b // 8 - 1)) // 1000) + 1

    @staticmethod
    def probe(double share, steps):
        """Delays after each of `steps`, (milliseconds, {bucket: requests more}); for tests."""
        cdef uint64_t[BUCKETS] counted
        cdef Hedge hedge = Hedge()
        memset(counted, 0, sizeof(counted))
        hedge.share = share
        hedge.buckets = counted
        found = []
        for now_ms, more in steps:
            for b, n in more.items():
                counted[<int>b] += n
            found.append(hedge.delay_ms(now_ms))
        return found
