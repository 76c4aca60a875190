from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastlb.balance.alias cimport Alias
from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View
from fastlb.balance.weighted_round_robin cimport WeightedRoundRobin

# A member in the private heap, ordered by (cost, turn): the exact ratio of its load to its weight, and for ties its
# turn by weight, whose lowest 16 bits are the member itself.
ctypedef struct Node:
    uint64_t cost
    uint64_t turn

cdef class LeastConnections(Algorithm):
    cdef:
        bint _shared
        bint _equal             # weights
        # private lines
        Node* _heap             # of all members, least first
        uint16_t* _place        # of each member in the heap
        uint64_t* _stride       # by which its turn moves with each use
        uint64_t _now           # turn of the last one taken
        # shared lines
        WeightedRoundRobin _order       # where scans begin: ties go round by weight, over all processes
        Alias _alias            # samples of large groups
        uint64_t _random

    cdef uint64_t _cost(self, int member) noexcept
    cdef void _down(self, uint32_t at, Node node) noexcept
    cdef void _up(self, uint32_t at, uint32_t top, Node node) noexcept
    cdef void _rebase(self) noexcept
    cdef void _fetch_next(self) noexcept
    cdef int _scan(self, Ask* ask) noexcept
    cdef int _sample(self) noexcept
    cdef int _build_heap(self, View* view) except -1
