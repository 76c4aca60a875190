from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View
from fastlb.balance.eevdf cimport Eevdf

cdef class WeightedRoundRobin(Algorithm):
    cdef:
        uint64_t* _ticket       # View.ticket
        bint _shared
        bint _ticketed          # _sequence is complete and indexed by the ticket
        uint64_t _period        # turns until the order repeats
        uint16_t* _sequence     # members in turn; NULL while weights are equal or the period is too long to keep
        Eevdf* _live            # makes the turns that _sequence does not hold yet
        uint64_t _filled        # turns in _sequence
        uint64_t _next          # own place in it when not _ticketed
        uint64_t _random

    cdef int _pick_live(self) noexcept
