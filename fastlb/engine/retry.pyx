"""Retry policy and budget of a backend.

A try after which the server had the request costs it the work again: when all servers fail, retries of everything would
double or treble their load. So at most max(`least`, `share` of the requests in flight) exchanges of a backend are on
such a further attempt at a time, over all workers (Envoy's retry budget). Where the server saw nothing of the request -
no connection, a kept-alive one that was closed - a further attempt adds no load, and is not counted.
"""

from fastlb._core.atomics cimport fl_add32, fl_add64, fl_load32, fl_sub32_floor
from fastlb.balance.base cimport was_tried
from fastlb.engine.failure cimport (
    FAIL_CLOSED, FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_MALFORMED, FAIL_STALE, FAIL_STATUS, FAIL_TIMEOUT)
from fastlb.engine.stats cimport COUNT_RETRYING, private_counters

KINDS = {
    "connect": RETRY_CONNECT, "closed": RETRY_CLOSED, "timeout": RETRY_TIMEOUT, "malformed": RETRY_MALFORMED,
}

# Stands in where there is no shared region.
cdef GroupLine _private_line
cdef uint64_t* _private_counters = private_counters()


cdef class RetryPolicy:
    """When to try again, and how often at once."""

    def __cinit__(self, Selector selector not None, kinds, statuses, double share, uint32_t least):
        """`kinds` are names of KINDS, `statuses` (first, last) of answers, 400 to 599."""
        cdef int status
        self.selector = selector
        self.line = &_private_line
        self.counters = _private_counters
        self.share = share
        self.least = least
        for kind in kinds:
            self.kinds |= <uint32_t>KINDS[kind]
        for first, last in statuses:
            for status in range(first, last + 1):
                if not 400 <= status <= 599:
                    raise ValueError(f"status {status} is not in 400..599")
                self.statuses[(status - 400) >> 6] |= <uint64_t>1 << ((status - 400) & 63)
                self.any_status = True

    cdef bint covers(self, int failure) noexcept:
        if failure == FAIL_CONNECT or failure == FAIL_CONNECT_TIMEOUT:
            return self.kinds & RETRY_CONNECT != 0
        if failure == FAIL_STALE or failure == FAIL_CLOSED:
            return self.kinds & RETRY_CLOSED != 0
        if failure == FAIL_TIMEOUT:
            return self.kinds & RETRY_TIMEOUT != 0
        if failure == FAIL_MALFORMED:
            return self.kinds & RETRY_MALFORMED != 0
        return failure == FAIL_STATUS

    cdef bint wants(self, int status, const int32_t* tried, int ntried, int32_t slot) noexcept:
        cdef int32_t i
        if status < 400 or status > 599 or not (self.statuses[(status - 400) >> 6] >> ((status - 400) & 63)) & 1:
            return False
        for i in range(<int32_t>self.selector.servers.count):
            if i != slot and not was_tried(tried, ntried, i) and self.selector.usable(i):
                return True
        return False

    cdef bint reserve(self, bint* held, uint32_t waiting) noexcept:
        cdef uint64_t active = waiting
        cdef uint64_t allowed
        cdef uint32_t i
        if held[0]:
            return True
        for i in range(self.selector.servers.count):
            active += self.selector.inflight(<int>i)
        allowed = <uint64_t>(self.share * <double>active)
        if allowed < self.least:
            allowed = self.least
        # The ledger first: a worker killed in between leaves one too many there, which reaping tolerates.
        self.counters[COUNT_RETRYING] += 1
        if fl_add32(&self.line.retrying, 1) < allowed:
            held[0] = True
            return True
        self.release()
        fl_add64(&self.line.retries_refused, 1)
        return False

    cdef void release(self) noexcept:
        fl_sub32_floor(&self.line.retrying, 1)
        self.counters[COUNT_RETRYING] -= 1

    def probe(self, *, int waiting=0):
        """Reserves; for tests."""
        cdef bint held = False
        return self.reserve(&held, <uint32_t>waiting)

    def give_back(self):
        """Releases; for tests."""
        self.release()

    @property
    def retrying(self):
        """Exchanges of all workers that are on a further attempt now."""
        return fl_load32(&self.line.retrying)
