"""Exchanges that may be on two servers at a time: the second copy of a late request, and which of the two wins.

One attempt is at hand, in the fields of the Exchange; the other one is put aside as `other`. What a server says makes
its attempt the one at hand first (`turn_to`), so that nothing else needs to know that there are two.
"""

cimport cython
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint32_t
from libc.string cimport memcpy
from fastlb._core.debug cimport FASTLB_DEBUG, LIVE_EXCHANGE, live_counters
from fastlb.balance.selector cimport USE_CANCELLED
from fastlb.engine.exchange cimport MAX_TRIED, Attempt, ServerSide
from fastlb.engine.server cimport Server
from fastlb.engine.stats cimport COUNT_HEDGES, COUNT_HEDGES_WON, COUNT_RETRIES
from fastlb.engine.upstream cimport Backend


@cython.final
@cython.no_gc
cdef class PairedExchange(RetriedExchange):
    """What every exchange is an instance of."""

    cdef void hedge_later(self) noexcept:
        cdef Backend b = self.backend
        cdef uint32_t delay
        if self.client is None or b.retries == 0 or self.saved == NULL or not self._repeatable():
            return
        delay = b.hedge.delay_ms(self.core.reactor.now_ms)
        if delay:
            self.hedge_due = True
            self.client.wait_until(self.core.reactor.now_ms + delay)

    cdef void hedge(self) noexcept:
        """The answer is late: sends the request to another server as well; the first answer wins."""
        cdef Backend b = self.backend
        cdef int slot
        if (self.up is None or self.response_started or self.ntried >= MAX_TRIED
                or not b.retry.reserve(&self.retrying, b.queue.count)):
            return
        self.tried[self.ntried] = self.slot
        slot = b.selector.select(self.key, self.has_key, self.tried, self.ntried + 1, self.core.reactor.now_ms)
        if slot < 0:
            return
        self.server.counters[COUNT_RETRIES] += 1
        b.counters[COUNT_RETRIES] += 1
        b.counters[COUNT_HEDGES] += 1
        (<Server>b.by_slot[slot]).counters[COUNT_HEDGES] += 1
        self.other = Attempt.__new__(Attempt)
        self.turn_to(None)
        self.attach(slot)

    cdef void turn_to(self, ServerSide up) noexcept:
        cdef Attempt a = self.other
        if a is None or a.up is not up:
            return
        a.up, self.up = self.up, a.up
        a.server, self.server = self.server, a.server
        a.slot, self.slot = self.slot, a.slot
        a.permit, self.permit = self.permit, a.permit
        a.reused, self.reused = self.reused, a.reused
        a.attempt_us, self.attempt_us = self.attempt_us, a.attempt_us
        a.connected_us, self.connected_us = self.connected_us, a.connected_us

    cdef void carry_on(self, Attempt a) noexcept:
        # The copy began later than what it is a copy of. Without a client neither of them wins.
        if self.client is not None and a.attempt_us > self.attempt_us:
            self.backend.counters[COUNT_HEDGES_WON] += 1
            a.server.counters[COUNT_HEDGES_WON] += 1
        self.other = a
        self.turn_to(a.up)
        self.other = None
        self.holding = True

    cdef void drop_other(self) noexcept:
        """The attempt at hand goes on alone. The other says nothing about its server."""
        cdef Attempt winner = self.other
        self.turn_to(winner.up)         # which makes the winner the other one
        self.other = None
        self.up.cancel()
        self.give_back(USE_CANCELLED)
        self.carry_on(winner)


cdef Exchange exchange_new(Core core, Frontend front):
    cdef Exchange e = PairedExchange.__new__(PairedExchange)
    Py_INCREF(e)
    if FASTLB_DEBUG:
        live_counters()[LIVE_EXCHANGE] += 1
    e.core = core
    e.front = front
    memcpy(e.term, b"----", 4)
    return e
