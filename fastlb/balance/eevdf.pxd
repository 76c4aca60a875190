# Earliest eligible virtual deadline first: whole turns in proportion to integer weights, O(log n) a turn.
from libc.stdint cimport uint32_t, uint64_t

ctypedef struct Eevdf:
    uint32_t n
    uint64_t total              # sum of the weights = length of the period
    uint64_t now                # turns given in this period
    uint32_t* weight
    uint32_t* done              # turns had in this period
    uint32_t* waiting           # heap by start done/weight, of those not yet eligible
    uint32_t* ready             # heap by finish (done + 1)/weight, of those that are
    uint32_t nwaiting
    uint32_t nready

# weights[0:n] >= 1 are copied; 0, or -1 with MemoryError. O(n).
cdef int eevdf_init(Eevdf* e, const uint32_t* weights, uint32_t n) except -1
cdef void eevdf_clear(Eevdf* e) noexcept
# The next one to have a turn.
cdef uint32_t eevdf_next(Eevdf* e) noexcept nogil
