"""Jump consistent hash: numbered shards without a table.

The bucket is the slot number, so only the last server may come or go without moving other servers' keys, and weights
do not count. A server that may not be picked now keeps its number; its keys are hashed again.
"""

from fastlb._core.bits cimport mix64
from fastlb.balance.base cimport Seat


cdef int jump_bucket(uint64_t key, int buckets) noexcept nogil:
    cdef long long b = -1, j = 0
    while j < buckets:
        b = j
        key = key * <uint64_t>2862933555777941757 + 1
        j = <long long>(<double>(b + 1) * (2147483648.0 / <double>((key >> 33) + 1)))
    return <int>b


cdef class Jump(Algorithm):
    """O(log n), nothing built. Source: Lamping, Veach, arXiv:1406.2294."""

    def __init__(self, dict options, bint shared):
        Algorithm.__init__(self, options, shared)
        self.keyed = True
        self.attempts = 32

    cdef int pick(self, Ask* ask) noexcept:
        cdef const Seat* seat
        cdef uint64_t key
        while ask.attempt < self.attempts:
            key = mix64(ask.key + ask.attempt * <uint64_t>0x9E3779B97F4A7C15) if ask.attempt else ask.key
            seat = &self.view.seats[jump_bucket(key, self.view.nseats)]
            if seat.member >= 0:
                return seat.member
            ask.attempt += 1
        return -1


def jump_hash(key, int buckets):
    """Bucket of an integer key; ValueError for less than one bucket."""
    if buckets < 1:
        raise ValueError(f"buckets must be at least 1, not {buckets}")
    return jump_bucket(<uint64_t>(key & 0xFFFFFFFFFFFFFFFF), buckets)


OPTIONS = {}
