# Who may send requests at all, by network.
from libc.stdint cimport uint32_t, uint64_t
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.networks cimport Networks
from fastlb.engine.step cimport Step

cdef enum:
    REFUSE_FORBID = 0           # 403
    REFUSE_TARPIT               # 403 after a while
    REFUSE_DROP                 # the connection ends without an answer

cdef class NetworkStep(Step):
    cdef:
        Networks allow          # None = everybody
        Networks deny           # None = nobody
        int how                 # REFUSE_*
        uint32_t tarpit_ms
        uint32_t most           # of this worker's exchanges that may wait in the tarpit
    cdef void _drop(self, Exchange e) noexcept
