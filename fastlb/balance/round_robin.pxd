from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View
from fastlb._core.shared cimport GroupLine

cdef class RoundRobin(Algorithm):
    cdef:
        GroupLine* _group       # the ticket that all processes draw from
        bint _shared
