from libc.stdint cimport uint64_t

from fastlb.balance.alias cimport Alias
from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View

cdef class TwoChoices(Algorithm):
    cdef:
        Alias _alias            # draws by weight
        uint64_t _random
        bint _shared

    cdef int _other_than(self, int i) noexcept
