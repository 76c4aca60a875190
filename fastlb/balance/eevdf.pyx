"""EEVDF / WF2Q+ as a round robin (Stoica, Abdel-Wahab, TR-95-22, 1995; Bennett, Zhang, INFOCOM 1996).

Virtual time is turns given / sum of weights. A server with k turns behind it may have the next when its ideal start
k/w has come; among those whose start has come, the earliest ideal finish (k+1)/w wins, the first declared on a tie. No
server is ever a whole turn from its ideal share. All comparisons are products of integers: weights have at most 20
bits and their sum 36, so nothing is rounded and nothing overflows.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset


cdef inline bint _starts_before(const Eevdf* e, uint32_t a, uint32_t b) noexcept nogil:
    cdef uint64_t x = <uint64_t>e.done[a] * e.weight[b]
    cdef uint64_t y = <uint64_t>e.done[b] * e.weight[a]
    return x < y or (x == y and a < b)


cdef inline bint _ends_before(const Eevdf* e, uint32_t a, uint32_t b) noexcept nogil:
    cdef uint64_t x = <uint64_t>(e.done[a] + 1) * e.weight[b]
    cdef uint64_t y = <uint64_t>(e.done[b] + 1) * e.weight[a]
    return x < y or (x == y and a < b)


cdef inline bint _eligible(const Eevdf* e, uint32_t i) noexcept nogil:
    return e.done[i] * e.total <= e.now * e.weight[i]


cdef inline bint _before(const Eevdf* e, bint by_end, uint32_t a, uint32_t b) noexcept nogil:
    return _ends_before(e, a, b) if by_end else _starts_before(e, a, b)


cdef inline void _push(const Eevdf* e, uint32_t* heap, uint32_t* n, bint by_end, uint32_t item) noexcept nogil:
    cdef uint32_t at = n[0]
    cdef uint32_t parent
    n[0] += 1
    while at:
        parent = (at - 1) >> 1
        if not _before(e, by_end, item, heap[parent]):
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = item


cdef inline uint32_t _pop(const Eevdf* e, uint32_t* heap, uint32_t* n, bint by_end) noexcept nogil:
    cdef uint32_t top = heap[0]
    cdef uint32_t at = 0
    cdef uint32_t child, item
    n[0] -= 1
    item = heap[n[0]]
    while True:
        child = 2 * at + 1
        if child >= n[0]:
            break
        if child + 1 < n[0] and _before(e, by_end, heap[child + 1], heap[child]):
            child += 1
        if not _before(e, by_end, heap[child], item):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = item
    return top


cdef void _start_period(Eevdf* e) noexcept nogil:
    """Everybody has had its turns, or it is the beginning: all are eligible."""
    cdef uint32_t i
    memset(e.done, 0, e.n * sizeof(uint32_t))
    e.now = 0
    e.nwaiting = 0
    e.nready = 0
    for i in range(e.n):
        _push(e, e.ready, &e.nready, True, i)


cdef int eevdf_init(Eevdf* e, const uint32_t* weights, uint32_t n) except -1:
    cdef uint32_t* memory = <uint32_t*>malloc((<size_t>n + 1) * 4 * sizeof(uint32_t))
    cdef uint32_t i
    if memory is NULL:
        raise MemoryError()
    e.n = n
    e.weight = memory
    e.done = memory + n
    e.waiting = memory + 2 * <size_t>n
    e.ready = memory + 3 * <size_t>n
    memcpy(e.weight, weights, n * sizeof(uint32_t))
    e.total = 0
    for i in range(n):
        e.total += weights[i]
    _start_period(e)
    return 0


cdef void eevdf_clear(Eevdf* e) noexcept:
    free(e.weight)
    memset(e, 0, sizeof(Eevdf))


cdef uint32_t eevdf_next(Eevdf* e) noexcept nogil:
    cdef uint32_t i
    while e.nwaiting and _eligible(e, e.waiting[0]):
        i = _pop(e, e.waiting, &e.nwaiting, False)
        _push(e, e.ready, &e.nready, True, i)
    i = _pop(e, e.ready, &e.nready, True)       # never empty: the lags add up to zero, so somebody is due
    e.done[i] += 1
    e.now += 1
    if e.now == e.total:
        _start_period(e)
    elif _eligible(e, i):
        _push(e, e.ready, &e.nready, True, i)
    else:
        _push(e, e.waiting, &e.nwaiting, False, i)
    return i
