# What the engine uses of the balancing core: one Selector a backend. Tiers, health, limits, slow start, bounded load
# and panic mode are decided here, around one algorithm (base.pxd), and nowhere else.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum Pick:
    PICK_NONE = -1              # nobody can take it: all down, drained or tried
    PICK_FULL = -2              # somebody is up, but everyone who is has reached its limit: queue

# How one use of a server ended, for release().
cdef enum Use:
    USE_OK = 0
    USE_FAILED = 1              # connect error, reset, timeout, malformed or 5xx gateway answer
    USE_CANCELLED = 2           # the client left, or the use was given back: says nothing about the server

cdef class Selector:
    # Hot. Picks a usable server that is not among tried[0:ntried] (ntried <= 4) and takes it: in flight, ledger and pick
    # counters go up by one. `key` is the XXH3-64 of the hash key; has_key false falls back to round robin for hash algorithms.
    # Returns the slot or a Pick. Cost is the algorithm's; no Python call, no system call.
    cdef int select(self, uint64_t key, bint has_key, const int32_t* tried, int ntried, uint64_t now_ms) noexcept
    # Hot. Ends one use; latency_us = time to the response head, 0 = unknown.
    cdef void release(self, int slot, int use, uint32_t latency_us, uint64_t now_ms) noexcept
    # Hot. Requests in flight on the slot over all workers.
    cdef uint32_t inflight(self, int slot) noexcept
    # Hot. True when the slot is up and not drained.
    cdef bint usable(self, int slot) noexcept
