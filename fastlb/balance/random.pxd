from libc.stdint cimport uint64_t

from fastlb.balance.alias cimport Alias
from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View

cdef class Random(Algorithm):
    cdef:
        Alias _alias
        uint64_t _random
