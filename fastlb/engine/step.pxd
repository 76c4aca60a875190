# One thing that is asked before a request may go on to its backend. Declared below the exchanges, which wait for it.
from cpython.object cimport PyObject

cdef enum:
    STEP_PASS = 0               # go on
    STEP_DONE = 1               # it was answered, or it waits: `parked` says for whom

cdef class Step:
    # Hot. What becomes of the exchange; core.request describes its head.
    cdef int ask(self, PyObject* exchange) noexcept
    # The exchange waits for this step, and the time that it may wait is over. It answers, or lets it go on.
    cdef void due(self, PyObject* exchange) noexcept
    # The exchange waited for this step and has ended; whatever is under way for it must forget it.
    cdef void left(self, PyObject* exchange) noexcept
