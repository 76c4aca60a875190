from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View

cdef class Maglev(Algorithm):
    cdef:
        uint16_t* _table        # seat by key modulo _size
        uint32_t _size          # prime
        uint32_t _wanted        # option table_size, 0 = by the number of servers
