# What an exchange owes to limits when it ends: requests at once to give back, bytes to charge.
from libc.stdint cimport uint32_t, uint64_t
from fastlb._core.limit_tables cimport LimitTables
from fastlb.engine.rate_table cimport RateTable

cdef struct Hold:
    uint32_t next               # the exchange's next one; 0 = none
    bint bytes                  # it is charged for its bytes, else counted at once
    bint shared                 # with other nodes: noted in the ring
    uint64_t key
    double unit                 # ns a byte

cdef enum AtOnce:
    AT_ONCE_REFUSED = 0
    AT_ONCE_TAKEN
    AT_ONCE_UNCOUNTED           # no room to count it: it passes

cdef class Holds:
    cdef:
        LimitTables* t          # the region's, or its own
        RateTable table
        int worker
        Hold* rows              # row 0 is nobody's
        uint32_t size, high     # rows there are; one above the highest in use so far
        uint32_t free           # first free row below `high`; 0 = none
        uint64_t* mine          # this worker's holds, shared
        object region           # keeps the tables mapped; not to be asked at the end
        LimitTables own
        void* memory
    # Hot. Counts one request of the key; `limit` at once are let in. O(1). `used`: how many there are with this one.
    cdef int take(self, uint64_t key, uint32_t limit, uint32_t* first, uint32_t* used) noexcept
    # Will charge the exchange's bytes to the key.
    cdef void owe(self, uint64_t key, double unit, bint shared, uint32_t* first) noexcept
    # The exchange whose rows begin with `first` has ended.
    cdef void settle(self, uint32_t first, uint64_t bytes, uint64_t now_ns) noexcept
    # Notes what was added to a key that nodes share.
    cdef void note(self, uint64_t key, uint64_t ns) noexcept
    cdef uint32_t _row(self, uint32_t* first) noexcept
    cdef void _drop(self, uint32_t row, uint32_t* first) noexcept
