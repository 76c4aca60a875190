# Debug switch and live-object counters: every connection, exchange and buffer counts its birth and death.
from libc.stdint cimport int64_t

cdef extern from "debug.h" nogil:
    const int FASTLB_DEBUG
    void FL_ASSERT(bint cond, const char* text)

cdef enum:
    LIVE_CLIENT = 0
    LIVE_UPSTREAM = 1
    LIVE_EXCHANGE = 2
    LIVE_BUFFER = 3
    LIVE_LISTENER = 4
    LIVE_TIMER = 5
    LIVE_KINDS = 8

# The counters are one array of the module, reached by pointer so that counting is one add (compiled out in release).
cdef int64_t* live_counters() noexcept nogil
