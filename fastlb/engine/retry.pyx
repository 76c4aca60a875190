"""Retry policy and budget of a backend.

A try after which the server had the request costs it the work again: when all servers fail, retries of everything would
double or treble their load. So at most max(`least`, `share` of the requests in flight) exchanges of a backend are on
such a further attempt at a time, over all workers (Envoy's retry budget). Where the server saw nothing of the request -
no connection, a kept-alive one that was closed - a further attempt adds no load, and is not counted.
"""

from fastlb._core.atomics cimport fl_add32, fl_add64, fl_load32, fl_sub32_floor
from fastlb.balance.base cimport was_tried
from fastlb.engine.failure cimport (
    FAIL_CLOSED, FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_MALFORMED, FAIL_STALE, FAIL_STATUS, FAIL_TIMEOUT,
    FAIL_CUT_HEAD)
from fastlb.engine.stats cimport COUNT_RETRYING, private_counters
from fastlb.http.fields cimport FIELD_RETRY_AFTER, Field

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
        if failure == FAIL_STALE or failure == FAIL_CLOSED or failure == FAIL_CUT_HEAD:
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

    cdef uint32_t pause_ms(self, int failure, int again, uint32_t asked, uint64_t* seed) noexcept:
        """Full jitter: anything up to backoff * 2 ** (again - 1), at most backoff_max. None where no server had it."""
        cdef uint64_t most
        cdef uint32_t drawn
        if self.backoff_ms == 0 or failure == FAIL_CONNECT or failure == FAIL_CONNECT_TIMEOUT or failure == FAIL_STALE:
            return 0
        most = min(<uint64_t>self.backoff_ms << min(again - 1, 16), <uint64_t>self.backoff_max_ms)
        seed[0] = seed[0] * 6364136223846793005u + 1442695040888963407u
        drawn = <uint32_t>((seed[0] >> 33) % (most + 1))
        return max(drawn, asked)

    cdef void release(self) noexcept:
        fl_sub32_floor(&self.line.retrying, 1)
        self.counters[COUNT_RETRYING] -= 1

    def probe(self, *, int waiting=0):
        """Reserves; for tests."""
        cdef bint held = False
        return self.reserve(&held, <uint32_t>waiting)

    def pauses(self, int failure, int again, uint32_t asked, int times, uint64_t seed=1):
        """Draws pauses; for tests."""
        return [self.pause_ms(failure, again, asked, &seed) for _ in range(times)]

    def set_backoff(self, uint32_t base_ms, uint32_t most_ms):
        """Milliseconds."""
        self.backoff_ms = base_ms
        self.backoff_max_ms = most_ms

    def give_back(self):
        """Releases; for tests."""
        self.release()

    @property
    def retrying(self):
        """Exchanges of all workers that are on a further attempt now."""
        return fl_load32(&self.line.retrying)


cdef uint32_t asked_wait_ms(const ResponseHead* h, const char* buf) noexcept:
    cdef const Field* f
    cdef uint64_t seconds = 0
    cdef uint32_t i
    if not h.seen[FIELD_RETRY_AFTER]:
        return 0
    f = &h.fields[h.seen[FIELD_RETRY_AFTER] - 1]
    for i in range(f.value_len):
        if not c'0' <= buf[f.value + i] <= c'9' or i > 6:
            return 0                    # a date, which clocks would have to agree on
        seconds = seconds * 10 + <uint64_t>(buf[f.value + i] - c'0')
    return <uint32_t>min(seconds * 1000, <uint64_t>0xffffffff)
