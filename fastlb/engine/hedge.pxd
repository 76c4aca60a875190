# When a second copy of a request is sent.
from libc.stdint cimport uint32_t, uint64_t
from fastlb._core.histogram cimport BUCKETS

cdef class Hedge:
    cdef:
        uint32_t fixed_ms           # 0 = the percentile
        double share                # of the percentile, 0..1
        uint64_t* buckets           # response times of the backend in this worker
        uint64_t[BUCKETS] early     # what of them is older than the window
        uint64_t[BUCKETS] later     # the same for the next window
        uint64_t rolled_ms
        uint64_t looked_ms
        uint32_t live_ms            # the percentile; 0 = too few requests to tell
    # Hot. Milliseconds after which to send the copy; 0 = send none. O(1), O(buckets) once a second.
    cdef uint32_t delay_ms(self, uint64_t now_ms) noexcept
    cdef void look(self) noexcept
