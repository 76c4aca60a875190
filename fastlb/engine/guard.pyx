"""What stands before a backend: its circuit breaker, those of its servers, and the limit of requests at once.

The limit counts over all workers and holds exactly: a request is counted first and taken back when that was one too
many. What a worker counted is in its own record too, which is subtracted should it die.
"""

from fastlb._core.atomics cimport fl_add32, fl_add64, fl_load32, fl_store32, fl_sub32_floor
from fastlb.balance.circuit_breaker cimport PERMIT_FREE, PERMIT_NONE
from fastlb.engine.wait_queue cimport PRIORITY_HIGH, PRIORITY_LOW

cdef enum:
    SETTLED = 2                 # an entry whose permit was brought back; above PERMIT_FREE, below PERMIT_TRIAL


cdef class Guard:
    """One backend's. Made by fastlb.control.builder where the configuration has something to guard."""

    cdef const char* enter(self, uint64_t now_ms, int priority, uint32_t* entry) noexcept:
        cdef uint32_t permit = PERMIT_FREE
        cdef uint32_t allowed
        if self.counts:
            allowed = self._allowed(priority)
            fl_store32(&self.held.requests, self.held.requests + 1)
            if fl_add32(&self.line.requests, 1) >= allowed and allowed:
                self._uncount()
                fl_add64(self.refused, 1)
                return b"too many requests at once"
        if self.breaker is not None:
            permit = self.breaker.admit(now_ms)
            if permit == PERMIT_NONE:
                if self.counts:
                    self._uncount()
                return b"circuit breaker is open"
        entry[0] = permit
        return NULL

    cdef void leave(self, uint32_t entry, bint told, bint failed, uint32_t latency_us, uint64_t now_ms) noexcept:
        if self.counts:
            self._uncount()
        if self.breaker is not None and entry != SETTLED:
            if told:
                self.breaker.ended(entry, failed, latency_us, now_ms)
            else:
                self.breaker.returned(entry)

    cdef void settle(self, uint32_t* entry, bint failed, uint32_t latency_us, uint64_t now_ms) noexcept:
        if self.breaker is not None:
            self.breaker.ended(entry[0], failed, latency_us, now_ms)
        entry[0] = SETTLED

    cdef uint32_t _allowed(self, int priority) noexcept:
        """Requests at once for this class; 0 = unlimited. The lowest is shed at three quarters; the highest may have an
        eighth more than the adaptive limit, which is an estimate."""
        cdef uint32_t hard = self.concurrency
        cdef uint32_t soft = fl_load32(&self.line.limit) if self.adaptive else 0
        if soft and priority == PRIORITY_HIGH:
            soft += (soft >> 3) + 1
        if soft == 0 or (hard and hard < soft):
            soft = hard
        if priority == PRIORITY_LOW and soft > 3:
            soft -= soft >> 2
        return soft

    cdef void _uncount(self) noexcept:
        fl_sub32_floor(&self.line.requests, 1)
        if self.held.requests:
            fl_store32(&self.held.requests, self.held.requests - 1)

    cdef uint32_t retry_after(self, uint64_t now_ms) noexcept:
        if self.breaker is not None and self.breaker.retry_after(now_ms) > 1:
            return self.breaker.retry_after(now_ms)
        return self.servers.retry_after(now_ms) if self.servers is not None else 1

    @property
    def requests(self):
        """Requests of all workers that were let in and have not ended; counted only with a limit."""
        return fl_load32(&self.line.requests)
