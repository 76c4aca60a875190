from libc.stdint cimport uint64_t

from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View

cdef class RoundRobin(Algorithm):
    cdef:
        uint64_t* _ticket       # View.ticket
        bint _shared
