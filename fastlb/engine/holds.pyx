"""Requests at once, counted by key in memory that all workers share, and what an exchange owes when it ends.

A count is one word, the key's hash and how many there are, moved by compare and swap: what is let in never exceeds the
limit, whichever workers let it in. Each request that is counted has a row in this worker's list of holds, which the
supervisor gives back should the worker die. Eight words make a bucket, one cache line; a word that counts nothing may
become another key's. When all eight count something, or the worker's list is full, a request passes uncounted.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset
from fastlb._core.atomics cimport (
    fl_add64, fl_cas64, fl_load64, fl_lock, fl_publish64, fl_store32, fl_store64, fl_unlock)
from fastlb._core.limit_tables cimport (
    AT_ONCE_COUNT, AT_ONCE_SLOTS, AT_ONCE_WAYS, HOLDS, RING, HoldLine, RateNote, at_once_back, limit_bytes,
    limit_lay_out)
from fastlb._core.region cimport LOCKS, RATE_SLOTS, Region
from fastlb._core.shared cimport RateSlot
from fastlb.engine.rate_table cimport rate_charge

cdef enum:
    WAYS4 = 4                   # of the table of rates
    TRIES = 64
    FIRST_ROWS = 256
    OWN_RATES = 1024


cdef class Holds:
    """Of one worker. region None: tables of its own, for tools and tests; `slots` is then the size of that of rates."""

    def __cinit__(self, region=None, int worker=0, int slots=OWN_RATES):
        cdef Region shared
        cdef uint8_t* p
        self.worker = worker
        self.table.owner = <uint32_t>worker + 1
        self.region = region
        if region is not None:
            shared = region
            self.t = &shared.limits
            self.table.slots = shared.rates()
            self.table.locks = shared.locks()
            self.table.mask = RATE_SLOTS // WAYS4 - 1
        else:
            if slots < WAYS4 or slots & (slots - 1):
                raise ValueError(f"slots: {slots} is not a power of two of at least {WAYS4}")
            self.worker = worker = 0
            self.memory = calloc(limit_bytes(1) + slots * sizeof(RateSlot) + LOCKS * sizeof(uint32_t), 1)
            if self.memory == NULL:
                raise MemoryError
            p = <uint8_t*>self.memory
            self.t = &self.own
            p += limit_lay_out(&self.own, p, 1)
            self.table.slots = <RateSlot*>p
            self.table.locks = <uint32_t*>(p + slots * sizeof(RateSlot))
            self.table.mask = slots // WAYS4 - 1
        self.mine = &self.t.holds[<size_t>worker * HOLDS]
        self.high = 1

    def __dealloc__(self):
        free(self.rows)
        free(self.memory)

    cdef uint32_t _row(self, uint32_t* first) noexcept:
        """A new row before the first one of an exchange; 0 when there is no room."""
        cdef Hold* grown
        cdef uint32_t row = self.free
        if row:
            self.free = self.rows[row].next
        else:
            if self.high >= self.size:
                if self.size >= HOLDS:
                    return 0
                row = self.size * 2 if self.size else FIRST_ROWS
                grown = <Hold*>realloc(self.rows, row * sizeof(Hold))
                if grown == NULL:
                    return 0
                self.rows = grown
                self.size = row
            row = self.high
            self.high += 1
            fl_store32(&self.t.workers[self.worker].holds_high, self.high)
        memset(&self.rows[row], 0, sizeof(Hold))
        self.rows[row].next = first[0]
        first[0] = row
        return row

    cdef int take(self, uint64_t key, uint32_t limit, uint32_t* first, uint32_t* used) noexcept:
        cdef uint64_t mark = key >> 24 | 1
        cdef uint64_t bucket = (key & 0xffffff) % (AT_ONCE_SLOTS // AT_ONCE_WAYS)
        cdef uint64_t* words = &self.t.at_once[bucket * AT_ONCE_WAYS]
        cdef uint64_t seen, place
        cdef uint32_t row
        cdef int i, way, _try
        cdef bint locked
        row = self._row(first)
        if row == 0:
            return AT_ONCE_UNCOUNTED
        for _try in range(TRIES):
            way = -1
            for i in range(AT_ONCE_WAYS):
                if fl_load64(&words[i]) >> 24 == mark:
                    way = i
                    break
            if way < 0:
                # Under the lock: two workers must not give the key a word each.
                locked = fl_lock(&self.table.locks[bucket & (LOCKS - 1)], self.table.owner)
                for i in range(AT_ONCE_WAYS):
                    seen = fl_load64(&words[i])
                    if seen >> 24 == mark:
                        way = i
                        break
                    if seen & AT_ONCE_COUNT == 0 and way < 0:
                        way = i
                if way >= 0:
                    seen = fl_load64(&words[way])
                    if seen >> 24 != mark and (seen & AT_ONCE_COUNT or not fl_cas64(&words[way], seen, mark << 24)):
                        way = -2        # somebody counted the key that it was; look again
                if locked:
                    fl_unlock(&self.table.locks[bucket & (LOCKS - 1)])
                if way == -1:
                    break
                continue
            seen = fl_load64(&words[way])
            if seen >> 24 != mark:
                continue
            if (seen & AT_ONCE_COUNT) >= limit:
                used[0] = limit
                self._drop(row, first)
                return AT_ONCE_REFUSED
            # What this worker holds is told first, so that a death in between gives back too much and never too little.
            place = bucket * AT_ONCE_WAYS + <uint64_t>way
            fl_publish64(&self.mine[row], place << 40 | mark)
            if fl_cas64(&words[way], seen, seen + 1):
                used[0] = <uint32_t>(seen & AT_ONCE_COUNT) + 1
                return AT_ONCE_TAKEN
            fl_store64(&self.mine[row], 0)
        self._drop(row, first)
        return AT_ONCE_UNCOUNTED

    cdef void _drop(self, uint32_t row, uint32_t* first) noexcept:
        """Takes back the row that was made last."""
        first[0] = self.rows[row].next
        self.rows[row].next = self.free
        self.free = row

    cdef void owe(self, uint64_t key, double unit, bint shared, uint32_t* first) noexcept:
        cdef uint32_t row = self._row(first)
        if row:
            self.rows[row].bytes = True
            self.rows[row].shared = shared
            self.rows[row].key = key
            self.rows[row].unit = unit

    cdef void settle(self, uint32_t first, uint64_t bytes, uint64_t now_ns) noexcept:
        cdef uint32_t row = first, following
        cdef Hold* one
        cdef uint64_t ns
        while row:
            one = &self.rows[row]
            following = one.next
            if one.bytes:
                ns = <uint64_t>(bytes * one.unit)
                rate_charge(&self.table, one.key, now_ns, ns)
                if one.shared:
                    self.note(one.key, ns)
            else:
                at_once_back(self.t, self.mine[row])
                fl_publish64(&self.mine[row], 0)
            one.next = self.free
            self.free = row
            row = following

    cdef void note(self, uint64_t key, uint64_t ns) noexcept:
        cdef HoldLine* line = &self.t.workers[self.worker]
        cdef RateNote* one
        if line.written - fl_load64(&line.taken) >= RING:
            fl_add64(&line.lost, 1)
            return
        one = &self.t.rings[<size_t>self.worker * RING + (line.written & (RING - 1))]
        one.key = key
        one.ns = ns
        fl_publish64(&line.written, line.written + 1)

    def at_once(self, key, int limit, int times=1):
        """Counts requests of a made-up key (a number) until `times` were let in or one was refused; how many were.
        What was let in is never given back. For tests."""
        cdef uint32_t first = 0, used = 0
        cdef int n = 0
        while n < times and self.take(key, limit, &first, &used) == AT_ONCE_TAKEN:
            n += 1
        return n
