"""Maglev hashing: a table of prime size in which servers take turns claiming slots, each in its own permutation.

One look-up a pick, balance within one slot, and few surviving keys move when the set changes (not none: use the ring
for that). The table covers all servers of the tier with a weight, up or not. The keys of one that may not be picked
now are hashed again, to any other in proportion to weight, so health changes neither rebuild the table nor move other
keys.
"""

from libc.stdlib cimport calloc, free, malloc, qsort

from fastlb._core.bits cimport mix64
from fastlb.balance.base cimport Seat
from fastlb.balance.options import integer
from fastlb.balance.tiers cimport same_seats

cdef enum:
    UNCLAIMED = 0xFFFF

cdef uint64_t STEP = <uint64_t>0x9E3779B97F4A7C15


cdef bint _is_prime(uint32_t n) noexcept nogil:
    cdef uint64_t d = 3
    if n < 4 or n % 2 == 0:
        return n == 2 or n == 3
    while d * d <= n:
        if n % d == 0:
            return False
        d += 2
    return True


cdef uint32_t _table_size(uint32_t wanted, uint32_t servers) noexcept nogil:
    """The size asked for, rounded up to a prime; or the first usual one with a hundred slots a server."""
    if wanted:
        while not _is_prime(wanted):
            wanted += 1
        return wanted
    if servers * <uint64_t>100 <= 65537:
        return 65537
    return 655373 if servers * <uint64_t>100 <= 655373 else 5000011


cdef void _fill(uint16_t* table, uint32_t size, uint64_t* at, const uint64_t* skip, const uint32_t* weights,
                double* target, uint32_t n) noexcept nogil:
    """Everybody in order claims the next free slot of its permutation until none is left.

    `at` holds the offsets and is used up; `target` is zero. A lighter server misses the rounds that it has no weight
    for: in round r it plays when r * weight has reached its target, which then grows by the greatest weight.
    """
    cdef uint32_t claimed = 0, i, heaviest = 0
    cdef uint64_t turn = 0
    for i in range(size):
        table[i] = UNCLAIMED
    for i in range(n):
        heaviest = max(heaviest, weights[i])
    while True:
        turn += 1
        for i in range(n):
            if weights[i] == 0 or <double>turn * weights[i] < target[i]:
                continue
            target[i] += heaviest
            while table[at[i]] != UNCLAIMED:
                at[i] += skip[i]
                if at[i] >= size:
                    at[i] -= size
            table[at[i]] = <uint16_t>i
            claimed += 1
            if claimed == size:
                return


# What a seat is sorted by: the order of claims must not depend on the order of declaration.
ctypedef struct Claimant:
    uint64_t identity
    uint32_t seat
    uint32_t weight


cdef int _by_identity(const void* a, const void* b) noexcept nogil:
    cdef const Claimant* x = <const Claimant*>a
    cdef const Claimant* y = <const Claimant*>b
    if x.identity != y.identity:
        return -1 if x.identity < y.identity else 1
    return -1 if x.seat < y.seat else x.seat > y.seat


cdef class Maglev(Algorithm):
    """Table look-up by key. O(1) to pick; O(M log M) to build a table of M slots.

    M is the first of 65537, 655373 and 5000011 that has 100 slots a server, or option `table_size` rounded up to a
    prime: give one where the group will grow past such a boundary, which moves most keys. Source: Eisenbud et al.,
    Maglev, NSDI 2016, section 3.4; weights as in Envoy's maglev_lb.cc.
    """

    def __init__(self, dict options, bint shared):
        Algorithm.__init__(self, options, shared)
        self.keyed = True
        self.attempts = 32
        self._wanted = options.get("table_size", 0)

    def __dealloc__(self):
        free(self._table)

    cdef int rebuild(self, ServerSet servers, View* view) except -1:
        cdef uint32_t n = view.nseats
        cdef uint32_t size = _table_size(self._wanted, n)
        cdef uint32_t i
        cdef uint16_t* table
        cdef Claimant* claimants
        cdef uint64_t* at
        cdef double* target
        cdef uint32_t* weights
        if same_seats(self.view, view):
            self.view = view
            return 0
        table = <uint16_t*>malloc(size * sizeof(uint16_t))
        claimants = <Claimant*>malloc(n * sizeof(Claimant))
        at = <uint64_t*>malloc(2 * n * sizeof(uint64_t))
        target = <double*>calloc(n, sizeof(double))
        weights = <uint32_t*>malloc(n * sizeof(uint32_t))
        if table is NULL or claimants is NULL or at is NULL or target is NULL or weights is NULL:
            free(table)
            free(claimants)
            free(at)
            free(target)
            free(weights)
            raise MemoryError()
        for i in range(n):
            claimants[i].identity = view.seats[i].identity
            claimants[i].seat = i
            claimants[i].weight = view.seats[i].weight
        qsort(claimants, n, sizeof(Claimant), _by_identity)
        for i in range(n):
            weights[i] = claimants[i].weight
            at[i] = mix64(claimants[i].identity) % size
            at[n + i] = mix64(claimants[i].identity + STEP) % (size - 1) + 1
        _fill(table, size, at, at + n, weights, target, n)
        for i in range(size):
            table[i] = <uint16_t>claimants[table[i]].seat
        free(claimants)
        free(at)
        free(target)
        free(weights)
        free(self._table)
        self._table = table
        self._size = size
        self.view = view
        return 0

    cdef int pick(self, Ask* ask) noexcept:
        cdef const Seat* seat
        while ask.attempt < self.attempts:
            if ask.attempt == 0:
                seat = &self.view.seats[self._table[ask.key % self._size]]
            else:
                seat = &self.view.seats[self._table[mix64(ask.key + ask.attempt * STEP) % self._size]]
            if seat.member >= 0:
                return seat.member
            ask.attempt += 1
        return -1


def fill_table(list offsets, list skips, int size, list weights=None):
    """The table of `size` slots from the servers' offsets (0..size-1) and skips (1..size-1), in their order."""
    cdef uint32_t n = len(offsets), i
    cdef uint16_t* table = <uint16_t*>malloc(size * sizeof(uint16_t))
    cdef uint64_t* at = <uint64_t*>malloc((2 * n + 1) * sizeof(uint64_t))
    cdef double* target = <double*>calloc(n + 1, sizeof(double))
    cdef uint32_t* numbers = <uint32_t*>malloc((n + 1) * sizeof(uint32_t))
    try:
        if table is NULL or at is NULL or target is NULL or numbers is NULL:
            raise MemoryError()
        for i in range(n):
            at[i] = offsets[i]
            at[n + i] = skips[i]
            numbers[i] = 1 if weights is None else weights[i]
        _fill(table, size, at, at + n, numbers, target, n)
        return [table[i] for i in range(<uint32_t>size)]
    finally:
        free(table)
        free(at)
        free(target)
        free(numbers)


OPTIONS = {"table_size": integer(7, 50000017)}
