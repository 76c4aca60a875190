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
    while b.queue.count:
        if b.queue.yields():
            return                      # the next free server is another worker's
        e = <Exchange>b.queue.head()
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

    cdef bint sweep(self) noexcept:
        cdef Backend b
        cdef list waiting = self.core.waiting
        # Who queues meanwhile joins the new list. An exchange may come to wait at a backend of a snapshot that was
        # replaced since it began, so the snapshot in force does not tell where somebody waits.
        self.core.waiting = []
        for b in waiting:
            serve_queue(b)
            if b.queue.count and b not in self.core.waiting:
                self.core.waiting.append(b)
        return len(self.core.waiting) > 0

    cdef void on_deferred(self) noexcept:
        self.on_timer()

    cdef void on_timer(self) noexcept:
        if self.sweep():
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + LOOK_AGAIN_MS)
        else:
            self.core.queues_waiting = False
