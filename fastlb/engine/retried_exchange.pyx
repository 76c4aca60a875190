"""What of an exchange is tried again: which answers, where, after which pause, and what is kept of the request for it.

An attempt that failed goes elsewhere only when nothing of the request was lost with it; what may be sent a second time
is all in `saved`.
"""

cimport cython
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from fastlb.engine.buffer cimport Chunk, chunk_cut, chunk_grow
from fastlb.engine.exchange cimport MAX_TRIED
from fastlb.engine.failure cimport FAIL_STALE
from fastlb.engine.retry cimport asked_wait_ms
from fastlb.engine.stats cimport COUNT_REDISPATCHES, COUNT_RETRIES
from fastlb.engine.upstream cimport Backend
from fastlb.http.request_head cimport method_idempotent
from fastlb.http.response_head cimport ResponseHead


@cython.no_gc
cdef class RetriedExchange(Exchange):
    """An exchange that may have further attempts."""

    cdef bint retries_status(self, const ResponseHead* h, const char* buf) noexcept:
        cdef Backend b = self.backend
        cdef int status = h.status
        if self.other is not None and b.retry.wants(status, NULL, 0, -1):
            self.status = <uint16_t>status
            return True                 # the other copy may do better
        if (self.attempts > b.retries or self.client is None or not self._repeatable()
                or not b.retry.wants(status, self.tried, self.ntried, self.slot)):
            return False
        self.asked_ms = 0
        if b.retry.backoff_ms:
            self.asked_ms = asked_wait_ms(h, buf)
            if self.asked_ms > b.retry.backoff_max_ms:
                return False            # too long to wait for it here: the client is told
        if not b.retry.reserve(&self.retrying, b.queue.count):
            return False
        self.status = <uint16_t>status
        return True

    cdef void try_elsewhere(self, int failure, int status, const char* term, const char* reason) noexcept:
        cdef Backend b = self.backend
        cdef int slot = -1
        cdef uint32_t pause
        self.status = <uint16_t>status
        memcpy(self.term, term, 2)
        self.reason = reason
        b.counters[COUNT_RETRIES] += 1
        self.server.counters[COUNT_RETRIES] += 1
        if self.ntried < MAX_TRIED:
            self.tried[self.ntried] = self.slot
            self.ntried += 1
        if failure == FAIL_STALE and b.affinity is not None and self.sticky.wanted == self.slot:
            # The client's session is there, and a new connection to it is a fair try.
            self.ntried -= 1
            slot = b.selector.take_slot(self.slot, self.core.reactor.now_ms)
            if slot < 0 and self.pinned:
                self.fail(503, b"SC", b"the client's server is not available")
            elif slot < 0:
                self.assign()
            else:
                self.attach(slot)
            return
        if failure == FAIL_STALE:
            slot = b.selector.select(self.key, self.has_key, self.tried, self.ntried, self.core.reactor.now_ms)
            if slot < 0:
                # The server may be well: when there is no other, a new connection to the same one is a fair try.
                self.ntried -= 1
                self.assign()
                return
        self.redispatched = 1
        b.counters[COUNT_REDISPATCHES] += 1
        self.server.counters[COUNT_REDISPATCHES] += 1
        pause = b.retry.pause_ms(failure, self.attempts, self.asked_ms, &self.core.seed)
        self.asked_ms = 0
        if slot >= 0:
            self.attach(slot)
        elif pause:
            self.pausing = True
            self.client.wait_until(self.core.reactor.now_ms + pause)
        else:
            self.assign()

    # --- what may be sent again

    cdef void keep_body(self, const char* p, size_t n) noexcept:
        cdef Chunk* grown
        cdef const char* before = self.saved.data
        cdef uint64_t size = <uint64_t>self.head_len + self.body_len
        if self.bytes_in != size or size + n > self.backend.replay_bytes or not method_idempotent(self.method):
            return                      # some of it is gone already, or it must not go twice
        grown = chunk_grow(self.saved, size + n)
        if grown == NULL:
            return
        self.saved = grown
        memcpy(grown.data + size, p, n)
        grown.end = <uint32_t>(size + n)
        self.body_len += <uint32_t>n
        self._moved(before)

    cdef void _moved(self, const char* before) noexcept:
        if self.saved.data != before:
            # What `request` describes has moved, or was in the new place before and is gone.
            self.core.request_base = self.saved.data if self.core.request_base == before else NULL

    cdef void trim(self) noexcept:
        """The server side has the body bytes that came with the head: keep them only where they may be sent again."""
        cdef const char* before = self.saved.data
        if self._repeatable() or (not self.request_done and method_idempotent(self.method)
                                  and self.bytes_in <= self.backend.replay_bytes):
            return
        self.body_len = 0
        self.saved = chunk_cut(self.saved, self.head_len)
        self._moved(before)

    cdef bint _repeatable(self) noexcept:
        # All of the request is in `saved`: none of it went to the server only. And it may go to two servers.
        return (self.request_done and self.bytes_in == self.head_len + self.body_len
                and self.bytes_in <= self.backend.replay_bytes and method_idempotent(self.method))
