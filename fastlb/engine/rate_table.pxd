# The table of theoretical arrival times that all workers share: the generic cell rate algorithm, one number a key.
from libc.stdint cimport uint32_t, uint64_t
from fastlb._core.shared cimport RateSlot

cdef struct RateTable:
    RateSlot* slots
    uint64_t mask               # buckets - 1
    uint32_t* locks             # LOCKS words, held while a key is entered
    uint32_t owner              # worker + 1

# Moves the key's TAT on by `cost` (ns) when that leaves it within `tolerance` of `now`. `ahead`: how far it is ahead of
# now in the end; when refused, how far it would have been. O(1), one cache line.
cdef bint rate_take(RateTable* t, uint64_t key, uint64_t now, uint64_t cost, uint64_t tolerance,
                    uint64_t* ahead) noexcept nogil
# How far the key's TAT is ahead of now; 0 for a key that is not there.
cdef uint64_t rate_ahead(RateTable* t, uint64_t key, uint64_t now) noexcept nogil
# Moves it on by `cost`, whatever that leaves.
cdef void rate_charge(RateTable* t, uint64_t key, uint64_t now, uint64_t cost) noexcept nogil
# The same after `now` at the earliest; the TAT that it began from.
cdef uint64_t rate_charge_after(RateTable* t, uint64_t key, uint64_t now, uint64_t cost) noexcept nogil
# Gives back what was charged and not used.
cdef void rate_back(RateTable* t, uint64_t key, uint64_t cost) noexcept nogil
# Moves it to `tat` when it is not beyond that already.
cdef void rate_raise(RateTable* t, uint64_t key, uint64_t tat) noexcept nogil
# A count in a window that begins with the first one, in the place of a TAT: the end of the window (ns, with WINDOW_STEP
# as its grain), and in the bits below that how many there were, at most WINDOW_STEP - 1. Adds `n` (0 or 1), and tells
# how many there are now and when their window ends. O(1), one cache line.
cdef enum:
    WINDOW_STEP = 1 << 16
cdef uint64_t rate_window(RateTable* t, uint64_t key, uint64_t now, uint64_t window, uint64_t n,
                          uint64_t* until) noexcept nogil
