# Weighted random draws: Vose's alias table, 8 bytes a member.
from libc.stdint cimport uint32_t, uint64_t

from fastlb._core.bits cimport fl_below, next_random
from fastlb.balance.base cimport View

ctypedef struct Column:
    uint32_t threshold          # below it the column itself, else its alias
    uint32_t alias

ctypedef struct Alias:
    Column* columns             # NULL while all weights are equal
    uint32_t n

# Makes the table of a view's weights; 0, or -1 with MemoryError and the table as it was. O(n).
cdef int alias_build(Alias* alias, const View* view) except -1
cdef void alias_clear(Alias* alias) noexcept

# A member drawn with probability weight / sum of weights. O(1), one random number.
cdef inline int alias_draw(const Alias* alias, uint64_t* state) noexcept nogil:
    cdef uint64_t bits = next_random(state)
    cdef uint32_t i = fl_below(bits, alias.n)
    if alias.columns is NULL or <uint32_t>bits < alias.columns[i].threshold:
        return i
    return alias.columns[i].alias

# Seed for a generator that no two processes share.
cdef uint64_t fresh_seed() except? 0
