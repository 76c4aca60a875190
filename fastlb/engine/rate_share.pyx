"""What workers counted by the rates that several nodes share, for whoever tells the other nodes. Cold.

Workers note what they added to a key in rings of shared memory; the process that owns the region takes the notes, and
raises what workers see to what all nodes together have counted.
"""

from libc.stdint cimport uint64_t
from fastlb._core.atomics cimport fl_acquire64, fl_load64, fl_publish64
from fastlb._core.limit_tables cimport RING, HoldLine, RateNote
from fastlb._core.mapping cimport CLOCK_MONOTONIC, clock_gettime, timespec
from fastlb._core.region cimport Region
from fastlb.engine.holds cimport Holds
from fastlb.engine.rate_table cimport rate_ahead, rate_charge, rate_raise

cdef uint64_t MOST = <uint64_t>3000000000000000000      # ns: a hundred years


cdef uint64_t now_ns() noexcept:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec


cdef class SharedRates:
    """The notes of all workers of a region."""

    cdef:
        Region region
        Holds holds

    def __init__(self, Region region not None):
        self.region = region
        self.holds = Holds(region, 0)

    def take(self, dict into not None):
        """Adds the notes since the last call to `into`: key -> nanoseconds. O(notes)."""
        cdef HoldLine* line
        cdef RateNote* one
        cdef uint64_t at, end
        cdef int w
        for w in range(self.region.slots_in_use()[0]):
            line = &self.region.limits.workers[w]
            end = fl_acquire64(&line.written)
            at = line.taken
            while at < end:
                one = &self.region.limits.rings[<size_t>w * RING + (at & (RING - 1))]
                into[one.key] = into.get(one.key, 0) + one.ns
                at += 1
            fl_publish64(&line.taken, end)

    def lost(self):
        """Notes that found no room: more than 8,192 of a worker between two calls of `take`."""
        cdef uint64_t total = 0
        cdef int w
        for w in range(self.region.slots_in_use()[0]):
            total += fl_load64(&self.region.limits.workers[w].lost)
        return total

    def raise_to(self, key, ahead):
        """All nodes together have counted the key up to `ahead` nanoseconds from now."""
        rate_raise(&self.holds.table, key, now_ns() + min(<uint64_t>ahead, MOST))

    def charge(self, key, ns):
        """Counts as a worker would, and notes it as worker 0. For tests."""
        rate_charge(&self.holds.table, key, now_ns(), ns)
        self.holds.note(key, ns)

    def ahead(self, key):
        """Nanoseconds that the key's time is ahead of now. For tests."""
        return rate_ahead(&self.holds.table, key, now_ns())
