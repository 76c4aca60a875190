from libc.stdint cimport uint32_t, uint64_t

from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View

ctypedef struct Point:
    uint32_t hash
    uint32_t seat

cdef class RingHash(Algorithm):
    cdef:
        Point* _points          # sorted by hash
        uint32_t* _starts       # first point at or after each prefix of _shift bits less
        uint32_t _count
        uint32_t _shift
        uint32_t _per_weight    # option points
        bint _ketama
        bint _short_names       # libmemcached
        uint32_t _at            # where the current question stands on the ring

    cdef Point* _xxh3_points(self, View* view, uint32_t* count) except NULL
    cdef Point* _ketama_points(self, ServerSet servers, View* view, uint32_t* count) except NULL
