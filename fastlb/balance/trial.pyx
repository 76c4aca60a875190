"""A selector over a copy of its servers' records, taken at one moment: to ask what it would pick.

The very selector and algorithm that carry traffic choose, and nothing of it is seen by anybody else.
"""

import time

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from fastlb._core.shared cimport SERVER_DRAIN, SERVER_EJECTED, SERVER_MAINT, SERVER_OPEN, SERVER_TRIAL, SERVER_UP
from fastlb.balance.base cimport FULL_RAMP, limit_of
from fastlb.balance.bounded_load cimport served_by, share_limit
from fastlb.balance.selector cimport PICK_FULL, PICK_NONE, USE_CANCELLED, make_selector

from fastlb.balance.least_time import peak_ewma

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    static inline float fl_float_from(uint32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
    """
    float fl_float_from(uint32_t bits) nogil

NONE, FULL = PICK_NONE, PICK_FULL
DECAY = 10.0                            # seconds; the default of least_time


cdef class Trial:
    """Room for `capacity` servers. Filled by C code, then `begin`, then questions."""

    def __cinit__(self, int capacity):
        cdef size_t size = sizeof(GroupLine) + capacity * (sizeof(ServerLine) + sizeof(uint32_t))
        self._size = (size + 63) // 64 * 64
        self._capacity = capacity
        self._group = <GroupLine*>aligned_alloc(64, 2 * self._size)
        if self._group == NULL:
            raise MemoryError
        memset(self._group, 0, 2 * self._size)
        self._lines = <ServerLine*>(self._group + 1)
        self._ledgers = <uint32_t*>(self._lines + capacity)
        self._set = ServerSet()
        self._set.attach_group(self._group)

    def __dealloc__(self):
        free(self._group)

    cdef int copy_group(self, const GroupLine* group) except -1:
        memcpy(self._group, group, sizeof(GroupLine))
        return 0

    cdef int copy_server(self, const ServerLine* line, int tier, str name) except -1:
        cdef int slot = self._n
        if slot == self._capacity:
            raise ValueError("no room for another server")
        memcpy(&self._lines[slot], line, sizeof(ServerLine))
        self._set.attach(slot, &self._lines[slot], &self._ledgers[slot], tier)
        self._set.identify(slot, name)
        self._n += 1
        return 0

    def begin(self, str algorithm, dict options):
        """All servers are there. Raises ValueError for an unknown algorithm or option."""
        memcpy(<char*>self._group + self._size, self._group, self._size)
        self._now_ms = time.monotonic_ns() // 1_000_000
        self.algorithm = algorithm
        self._selector = make_selector(algorithm, options, self._set)

    @property
    def keyed(self):
        """The algorithm hashes a key."""
        return self._selector._keyed

    cdef uint64_t key_of(self, const char* text, size_t n) noexcept:
        return self._selector.algorithm.key_of(text, n)

    def draw(self, key=None, tried=(), int times=1):
        """How often each slot is picked when `times` requests come to this very state: {slot, NONE or FULL: times}.

        `key`: hash of a key, None = without; `tried`: slots that an earlier attempt failed on, at most four.
        O(servers) each.
        """
        cdef int32_t[4] slots
        cdef int i, slot, n = len(tried)
        cdef uint64_t number = 0 if key is None else key
        if n > 4:
            raise ValueError("at most four were tried")
        for i in range(n):
            slots[i] = tried[i]
        drawn = {}
        for _ in range(times):
            memcpy(self._group, <char*>self._group + self._size, self._size)
            slot = self._selector.select(number, key is not None, slots, n, self._now_ms)
            drawn[slot] = drawn.get(slot, 0) + 1
            if slot >= 0:
                # the selector's own books, which the copy does not reach
                self._selector.release(slot, USE_CANCELLED, 0, self._now_ms)
        memcpy(self._group, <char*>self._group + self._size, self._size)
        return drawn

    def loads(self):
        """Percent by tier of those that share the load; {} while one has it all."""
        cdef dict shares = {}
        cdef int k
        if self._selector._view.spills:
            for k in range(100):
                shares[self._selector._tier_at[k]] = shares.get(self._selector._tier_at[k], 0) + 1
        return shares

    def server(self, int slot):
        """What the selector sees of the server: a dict of plain values.

        candidate: it may be picked now, its limit apart. score: what the algorithm compares, least first; None where it
        compares nothing. bound: most requests that bounded load lets it have now, None = no bound. latency: estimate in
        seconds, None = not measured. ramp: slow start, 1 = none. All others as they stand in the record.
        """
        cdef ServerLine* line
        cdef uint32_t state
        cdef int member
        if not 0 <= slot < self._n:
            raise IndexError(slot)
        line = &self._lines[slot]
        state = line.state
        member = self._selector._view.member_of[slot]
        ramp = (line.ramp if 0 < line.ramp < FULL_RAMP else FULL_RAMP) / <double>FULL_RAMP
        weight = line.weight * ramp
        latency = score = None
        if line.latency:
            sample = (<uint32_t>line.latency / 1000.0, fl_float_from(<uint32_t>(line.latency >> 32)))
            latency = peak_ewma([sample], DECAY, <uint32_t>self._now_ms / 1000.0) / 1e6
        if weight and self.algorithm in ("least_connections", "two_choices"):
            score = line.inflight / weight
        elif weight and self.algorithm == "least_time" and latency is not None:
            score = latency * (line.inflight + 1) / weight
        elif self.algorithm == "least_time" and not line.inflight:
            score = 0.0
        return {
            "up": bool(state & SERVER_UP),
            "drain": bool(state & SERVER_DRAIN),
            "maint": bool(state & SERVER_MAINT),
            "ejected": bool(state & SERVER_EJECTED),
            "breaker": "open" if state & SERVER_OPEN else "half-open" if state & SERVER_TRIAL else "",
            "usable": bool(self._selector.usable(slot)),
            "candidate": member >= 0,
            "weight": line.weight,
            "ramp": ramp,
            "in_flight": line.inflight,
            "limit": limit_of(line),
            "bound": self._bound_of(member),
            "latency": latency,
            "score": score,
        }

    cdef object _bound_of(self, int member):
        cdef Selector s = self._selector
        if not s._bound or member < 0:
            return None
        return share_limit(s._shares, s._view.n, member, served_by(s._view), s._bound)
