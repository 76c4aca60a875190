from libc.stdint cimport uint32_t, uint64_t

from fastlb.balance.alias cimport Alias
from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View
from fastlb.balance.weighted_round_robin cimport WeightedRoundRobin

# A member in the private heap.
ctypedef struct Node:
    uint64_t turn               # breaks ties: virtual time at which its next use is due by weight
    uint32_t load               # requests in flight
    uint32_t member

cdef class LeastConnections(Algorithm):
    cdef:
        bint _shared
        bint _equal             # weights
        # private lines: heap of all members, least load / weight first, then least turn
        Node* _heap
        uint32_t* _place        # of each member in the heap
        uint64_t* _stride       # by which its turn moves with each use
        uint64_t _now           # turn of the last one taken
        # shared lines
        WeightedRoundRobin _order       # where scans begin: ties go round by weight, over all processes
        Alias _alias            # samples of large groups
        uint64_t _random

    cdef bint _before(self, const Node* a, const Node* b) noexcept
    cdef void _down(self, uint32_t at, Node node) noexcept
    cdef void _up(self, uint32_t at, Node node) noexcept
    cdef void _rebase(self) noexcept
    cdef int _scan(self, Ask* ask) noexcept
    cdef int _sample(self) noexcept
    cdef int _build_heap(self, View* view) except -1
