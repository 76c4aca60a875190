"""Serves exchanges that wait for a free server.

A server freed by this worker is given on after the batch. One freed by another worker is noticed by looking again every
32 ms, as long as somebody waits.
"""

from fastlb.balance.selector cimport PICK_FULL
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.reactor cimport set_deadline
from fastlb.engine.upstream cimport Backend

cdef enum:
    LOOK_AGAIN_MS = 32


cdef void serve_queue(Backend b) noexcept:
    cdef Exchange e
    cdef int slot
    while b.queue.first != NULL:
        e = <Exchange>b.queue.first
        slot = b.selector.select(e.key, e.has_key, e.tried, e.ntried, e.core.reactor.now_ms)
        if slot == PICK_FULL:
            return
        e.leave_queue()
        if slot >= 0:
            e.attach(slot)
        else:
            e.fail(503, b"SC", b"no server is available")


cdef class QueueSweeper(EventHandler):
    """One a worker. It has no descriptor: it lives by deferral and by its deadline."""

    def __init__(self, Core core not None):
        self.core = core
        self.fd = -1
        self.backends = []

    def watch(self, list backends):
        """The backends of the snapshot in force; earlier ones are kept while somebody waits in them."""
        cdef Backend b
        kept = [b for b in self.backends if b.queue.count and b not in backends]
        self.backends = kept + backends

    cdef bint sweep(self) noexcept:
        cdef Backend b
        cdef bint waiting = False
        for b in self.backends:
            if b.queue.first != NULL:
                serve_queue(b)
                if b.queue.first != NULL:
                    waiting = True
        return waiting

    cdef void on_deferred(self) noexcept:
        self.on_timer()

    cdef void on_timer(self) noexcept:
        if self.sweep():
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + LOOK_AGAIN_MS)
        else:
            self.core.queues_waiting = False
