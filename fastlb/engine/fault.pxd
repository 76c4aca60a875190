# Faults on purpose.
from libc.stdint cimport uint32_t, uint64_t
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.step cimport Step

cdef class FaultStep(Step):
    cdef:
        uint64_t share          # of 2**64 requests
        uint32_t delay_ms       # 0 = none
        int status              # 0 = no abort
        bytes header            # lower case; only requests that have it
    cdef void _abort(self, Exchange e) noexcept
