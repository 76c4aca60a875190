from libc.stdint cimport uint32_t, uint64_t

from fastlb.balance.alias cimport Alias
from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View

cdef class TwoChoices(Algorithm):
    cdef:
        Alias _alias            # draws by weight
        uint64_t _random
        bint _shared
        bint _ahead             # the group is larger than the caches: draw before the pick that needs it
        uint32_t _turn          # of the drawn pairs the next to be used
        int _drawn[8]           # PAIRS of them

    cdef int _other_than(self, int i) noexcept
    cdef void _draw(self, int* pair) noexcept
    cdef int* _pair(self) noexcept
