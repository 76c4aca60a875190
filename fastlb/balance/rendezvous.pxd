from libc.stdint cimport int32_t

from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View

cdef class Rendezvous(Algorithm):
    cdef:
        double _refused         # score of the last answer to the current question
        int32_t _refused_at
