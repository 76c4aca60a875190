"""Smooth weighted round robin: each server has its share of every stretch of picks, not just of the whole period.

One period is worked out when the weights change; a pick is one ticket and one look into it. Which form makes the order
depends on its length L = sum of weights / their greatest common divisor, and on n:

- equal weights: declared order, nothing to make;
- n * L up to 20 million: nginx's smooth order (ngx_http_upstream_round_robin.c: everybody gains its weight, the
  highest, first declared on a tie, has the turn and loses the sum), O(n * L) to make;
- L up to 32,768: EEVDF order, O(L log n) to make;
- longer: EEVDF turn by turn, O(log n) a pick, kept for the next period if it has at most a million turns. This one is
  exact for each process by itself; the others are exact over all processes that share the group, by its ticket.
"""

from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free, malloc

from fastlb._core.atomics cimport fl_add64
from fastlb._core.bits cimport next_random
from fastlb.balance.alias cimport fresh_seed
from fastlb.balance.base cimport turns
from fastlb.balance.eevdf cimport eevdf_clear, eevdf_init, eevdf_next
from fastlb.balance.options import registry

cdef enum:
    SCAN_WORK = 20000000        # n * L that the smooth order may cost: some 11 ms
    TABLE = 32768               # turns made at once
    KEPT = 1048576              # turns kept at all
    HEAD_START = 1024           # turns skipped at most after a rebuild


cdef uint32_t _gcd(uint32_t a, uint32_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef int _smooth(uint16_t* sequence, uint64_t length, const uint32_t* weights, uint32_t n) except -1:
    """Fills one period in nginx's order."""
    cdef int32_t* current = <int32_t*>calloc(n, sizeof(int32_t))
    cdef uint64_t t
    cdef uint32_t i
    cdef int32_t best
    if current is NULL:
        raise MemoryError()
    for t in range(length):
        best = 0                        # the sum is `length`, so the highest is above it
        for i in range(n):              # the compiler makes vector instructions of this
            current[i] += <int32_t>weights[i]
            best = current[i] if current[i] > best else best
        i = 0
        while current[i] != best:
            i += 1
        current[i] -= <int32_t>length
        sequence[t] = <uint16_t>i
    free(current)
    return 0


cdef class WeightedRoundRobin(Algorithm):
    """Whole turns in proportion to the weights, spread evenly. O(1) to pick; see the module for the making.

    With L over a million, O(log n) to pick. Sources: nginx; EEVDF (see eevdf.pyx).
    """

    def __init__(self, dict options, bint shared):
        Algorithm.__init__(self, options, shared)
        self._shared = shared
        self._random = fresh_seed() if shared else 0

    def __dealloc__(self):
        free(self._sequence)
        if self._live is not NULL:
            eevdf_clear(self._live)
            free(self._live)

    cdef int rebuild(self, ServerSet servers, View* view) except -1:
        cdef uint32_t* weights = NULL
        cdef uint16_t* sequence = NULL
        cdef Eevdf* live = NULL
        cdef uint64_t length = view.n, filled = 0, skip = 0
        cdef uint32_t i, divisor = 0
        try:
            if not view.equal:
                weights = <uint32_t*>malloc(view.n * sizeof(uint32_t))
                if weights is NULL:
                    raise MemoryError()
                length = 0
                for i in range(view.n):
                    weights[i] = turns(&view.members[i])
                    divisor = _gcd(divisor, weights[i])
                for i in range(view.n):
                    weights[i] //= divisor
                    length += weights[i]
                if length <= KEPT:
                    sequence = <uint16_t*>malloc(length * sizeof(uint16_t))
                    if sequence is NULL:
                        raise MemoryError()
                if length <= TABLE and length * view.n <= SCAN_WORK:
                    _smooth(sequence, length, weights, view.n)
                else:
                    live = <Eevdf*>calloc(1, sizeof(Eevdf))
                    if live is NULL:
                        raise MemoryError()
                    eevdf_init(live, weights, view.n)
                    if length <= TABLE:
                        filled = length
                    else:
                        # Not the same first turns after every rebuild, nor in every process.
                        skip = servers.group.ticket + (next_random(&self._random) if self._shared else 0)
                        skip %= min(length, <uint64_t>HEAD_START)
                        filled = skip if sequence is not NULL else 0
                    for i in range(<uint32_t>filled):
                        sequence[i] = <uint16_t>eevdf_next(live)
                    for _ in range(<uint32_t>(skip - filled) if skip > filled else 0):
                        eevdf_next(live)
        except MemoryError:
            free(sequence)
            if live is not NULL:
                eevdf_clear(live)
                free(live)
            raise
        finally:
            free(weights)
        free(self._sequence)
        if self._live is not NULL:
            eevdf_clear(self._live)
            free(self._live)
        if live is not NULL and filled == length:
            eevdf_clear(live)
            free(live)
            live = NULL
        self._ticket = view.ticket
        self._sequence = sequence
        self._period = length
        self._live = live
        self._filled = filled
        self._next = skip
        self._ticketed = live is NULL
        self.view = view
        return 0

    cdef int pick(self, Ask* ask) noexcept:
        cdef uint64_t ticket
        if not self._ticketed:
            return self._pick_live()
        if self._shared:
            ticket = fl_add64(self._ticket, 1)
        else:
            ticket = self._ticket[0]
            self._ticket[0] = ticket + 1
        ticket %= self._period
        return self._sequence[ticket] if self._sequence is not NULL else <int>ticket

    cdef int _pick_live(self) noexcept:
        """A turn of a long period: from what is kept, or made now."""
        cdef uint64_t at = self._next
        self._next = at + 1 if at + 1 < self._period else 0
        if not self._shared:
            self._ticket[0] += 1
        if self._sequence is NULL:
            return eevdf_next(self._live)
        if at == self._filled:
            self._sequence[at] = <uint16_t>eevdf_next(self._live)
            self._filled += 1
        return self._sequence[at]


def smooth_order(list weights):
    """One period of the smooth order of positive integer weights, as indices. O(n * sum of weights)."""
    return _order(weights, False)


def eevdf_order(list weights):
    """One period of the EEVDF order of positive integer weights, as indices. O(sum of weights * log n)."""
    return _order(weights, True)


cdef list _order(list weights, bint eevdf):
    cdef uint32_t n = len(weights)
    cdef uint64_t length = sum(weights)
    cdef uint32_t* numbers = <uint32_t*>malloc(n * sizeof(uint32_t) + 1)
    cdef uint16_t* sequence = <uint16_t*>malloc(length * sizeof(uint16_t) + 1)
    cdef Eevdf e
    cdef uint64_t t
    if numbers is NULL or sequence is NULL:
        free(numbers)
        free(sequence)
        raise MemoryError()
    try:
        for i, weight in enumerate(weights):
            numbers[i] = weight
        if not eevdf:
            _smooth(sequence, length, numbers, n)
            return [sequence[t] for t in range(length)]
        eevdf_init(&e, numbers, n)
        order = [eevdf_next(&e) for _ in range(length)]
        eevdf_clear(&e)
        return order
    finally:
        free(numbers)
        free(sequence)


registry["weighted_round_robin"] = (WeightedRoundRobin, {})
