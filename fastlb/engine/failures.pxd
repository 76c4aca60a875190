# How often an address may be wrong, over all workers.
from libc.stdint cimport uint64_t
from fastlb.engine.holds cimport Holds

cdef class Failures:
    cdef:
        Holds holds
        uint64_t seed           # hash of the name
        uint64_t limit
        uint64_t window_ns
        object clock            # monotonic nanoseconds
    cdef uint64_t _key(self, bytes address) noexcept
