"""Placeholder until the algorithms land in the same series of commits: the first server that is not tried."""

cdef class Selector:
    cdef int select(self, uint64_t key, bint has_key, const int32_t* tried, int ntried, uint64_t now_ms) noexcept:
        return PICK_NONE

    cdef void release(self, int slot, int use, uint32_t latency_us, uint64_t now_ms) noexcept:
        pass

    cdef uint32_t inflight(self, int slot) noexcept:
        return 0

    cdef bint usable(self, int slot) noexcept:
        return False
