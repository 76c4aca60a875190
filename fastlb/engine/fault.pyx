"""Fault injection: delays and error answers for a share of the requests, to see how what is in front takes it."""

from cpython.object cimport PyObject
from fastlb._core.bits cimport mix64
from fastlb.engine.admission cimport park, resume
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.request_key cimport KEY_HEADER, find_key
from fastlb.engine.stats cimport COUNT_FAULT_ABORTS, COUNT_FAULT_DELAYS
from fastlb.engine.step cimport STEP_DONE, STEP_PASS


cdef class FaultStep(Step):
    """share: of the requests, 0-1; delay: seconds; abort: status, 0 = none; header: only requests with this field."""

    def __init__(self, double share=1.0, double delay=0.0, int abort=0, str header=""):
        self.share = <uint64_t>-1 if share >= 1 else <uint64_t>(max(share, 0.0) * 2.0 ** 64)
        self.delay_ms = <uint32_t>(delay * 1000)
        self.status = abort
        self.header = header.lower().encode()

    cdef int ask(self, PyObject* exchange) noexcept:
        cdef Exchange e = <Exchange>exchange
        cdef size_t n
        if self.header and find_key(KEY_HEADER, self.header, <size_t>len(self.header), e.core.request, e.saved.data,
                                    NULL, &n) == NULL:
            return STEP_PASS
        e.core.seed += 0x9e3779b97f4a7c15ULL
        if self.share != <uint64_t>-1 and mix64(e.core.seed) >= self.share:
            return STEP_PASS
        if self.delay_ms:
            e.front.counters[COUNT_FAULT_DELAYS] += 1
            park(e, self, self.delay_ms)
        else:
            self._abort(e)
        return STEP_DONE

    cdef void due(self, PyObject* exchange) noexcept:
        cdef Exchange e = <Exchange>exchange
        if self.status:
            e.parked = None
            self._abort(e)
        else:
            resume(e)

    cdef void _abort(self, Exchange e) noexcept:
        e.front.counters[COUNT_FAULT_ABORTS] += 1
        e.fail(self.status, b"PR", b"fault injected")
