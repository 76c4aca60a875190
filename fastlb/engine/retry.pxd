# What of a backend's failed attempts is tried again, and how many at a time.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from fastlb._core.shared cimport GroupLine
from fastlb.balance.selector cimport Selector
from fastlb.http.response_head cimport ResponseHead

cdef enum:
    RETRY_CONNECT = 1           # no connection
    RETRY_CLOSED = 2            # closed before any byte of the answer
    RETRY_TIMEOUT = 4           # no answer in time
    RETRY_MALFORMED = 8         # an answer that breaks the protocol

cdef class RetryPolicy:
    cdef:
        Selector selector
        GroupLine* line
        uint64_t* counters      # of the backend, this worker's
        object owner            # of the memory behind `line`
        uint32_t kinds          # RETRY_*
        uint64_t[4] statuses    # a bit each, from 400 on
        readonly bint any_status
        double share
        uint32_t least
        uint32_t backoff_ms     # before a further attempt at what reached a server; 0 = none
        uint32_t backoff_max_ms
    # Whether the policy is to try again after this failure (FAIL_*).
    cdef bint covers(self, int failure) noexcept
    # Whether an answer with this status is thrown away for another try: a server other than these must be there.
    cdef bint wants(self, int status, const int32_t* tried, int ntried, int32_t slot) noexcept
    # Counts one more exchange that is tried again, over all workers; false when the budget is spent. Once for all
    # further attempts of it: `held` remembers. O(servers).
    cdef bint reserve(self, bint* held, uint32_t waiting) noexcept
    # Milliseconds to wait before further attempt number `again` (from 1), and at least `asked`.
    cdef uint32_t pause_ms(self, int failure, int again, uint32_t asked, uint64_t* seed) noexcept
    # An exchange that holds a place in the budget has ended.
    cdef void release(self) noexcept

# Milliseconds that the answer asks to wait (Retry-After in seconds, RFC 9110 section 10.2.3); 0 where it does not.
cdef uint32_t asked_wait_ms(const ResponseHead* h, const char* buf) noexcept
