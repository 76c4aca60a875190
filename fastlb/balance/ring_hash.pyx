"""Hash ring: each server at many points of a circle, a key belongs to the first point at or after it.

When a server comes or goes only its own keys move, which is what caches need; balance is worse than Maglev's (with 160
points a server, the fullest of 100 has about 1.15 times its share). A server that may not be picked now is passed by
walking on, so its keys spread over its neighbours and the ring stays as it is.

Two ways to make points, option `hash`:
- `xxh3` (default): `points` (160) a unit of weight, from the hash of the server's name. A server's points depend on
its own
  name and weight alone.
- `ketama`: as libketama does it, so that clients of memcached and fastlb agree: MD5 of "host:port-k" gives four points
  each, 160 for an average weight, and keys are hashed by MD5 too. `libmemcached`: the same but for the names of
  servers on port 11211, which are hashed without the port.
"""

from hashlib import md5

from libc.math cimport floorf
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastlb._core.bits cimport fl_read32, mix64
from fastlb.balance.base cimport Seat
from fastlb.balance.options import choice, integer
from fastlb.balance.tiers cimport same_seats

cdef enum:
    MOST_POINTS = 8388608       # 64 MB; heavier groups get fewer points a unit of weight

cdef uint64_t STEP = <uint64_t>0x9E3779B97F4A7C15


cdef int _sort(Point* points, uint32_t count) except -1:
    """By hash; equal ones stay in order of seats. Radix sort, two passes of 16 bits: a tenth of qsort's time."""
    cdef uint32_t* starts = <uint32_t*>malloc(65536 * sizeof(uint32_t))
    cdef Point* other = <Point*>malloc((<size_t>count + 1) * sizeof(Point))
    cdef Point* source = points
    cdef Point* target = other
    cdef uint32_t i, digit, sum, shift
    if starts is NULL or other is NULL:
        free(starts)
        free(other)
        raise MemoryError()
    for shift in (0, 16):
        memset(starts, 0, 65536 * sizeof(uint32_t))
        for i in range(count):
            starts[source[i].hash >> shift & 0xFFFF] += 1
        sum = 0
        for digit in range(65536):
            i = starts[digit]
            starts[digit] = sum
            sum += i
        for i in range(count):
            digit = source[i].hash >> shift & 0xFFFF
            target[starts[digit]] = source[i]
            starts[digit] += 1
        source, target = target, source
    free(starts)
    free(other)
    return 0


cdef class RingHash(Algorithm):
    """First point at or after the key. O(1) to pick on average (index by prefix), O(P log P) to build P points.

    Source: Karger et al., Consistent hashing and random trees, STOC 1997; RJ/ketama for `hash="ketama"`.
    """

    def __init__(self, dict options, bint shared):
        Algorithm.__init__(self, options, shared)
        self.keyed = True
        self.attempts = 64
        self._per_weight = options.get("points", 160)
        self._ketama = options.get("hash", "xxh3") != "xxh3"
        self._short_names = options.get("hash") == "libmemcached"

    def __dealloc__(self):
        free(self._points)
        free(self._starts)

    cdef int rebuild(self, ServerSet servers, View* view) except -1:
        cdef Point* points
        cdef uint32_t* starts
        cdef uint32_t count, bits, at, prefix
        if same_seats(self.view, view):
            self.view = view
            return 0
        points = self._ketama_points(servers, view, &count) if self._ketama else self._xxh3_points(view, &count)
        try:
            _sort(points, count)
        except MemoryError:
            free(points)
            raise
        bits = 8
        while bits < 22 and <uint32_t>1 << bits < count:
            bits += 1
        starts = <uint32_t*>malloc((<size_t>1 << bits) * sizeof(uint32_t))
        if starts is NULL:
            free(points)
            raise MemoryError()
        at = 0
        for prefix in range(<uint32_t>1 << bits):
            while at < count and points[at].hash >> (32 - bits) < prefix:
                at += 1
            starts[prefix] = at
        free(self._points)
        free(self._starts)
        self._points = points
        self._starts = starts
        self._count = count
        self._shift = 32 - bits
        self.view = view
        return 0

    cdef Point* _xxh3_points(self, View* view, uint32_t* count) except NULL:
        cdef uint64_t total = 0
        cdef uint32_t each = self._per_weight
        cdef uint32_t i, n = 0
        cdef uint64_t state
        cdef Point* points
        for i in range(view.nseats):
            total += view.seats[i].weight
        if total * each > MOST_POINTS:
            each = max(MOST_POINTS // total, <uint64_t>1)
        points = <Point*>malloc((total * each + 1) * sizeof(Point))
        if points is NULL:
            raise MemoryError()
        for i in range(view.nseats):
            state = view.seats[i].identity
            for _ in range(view.seats[i].weight * each):
                state += STEP
                points[n].hash = <uint32_t>(mix64(state) >> 32)
                points[n].seat = i
                n += 1
        count[0] = n
        return points

    cdef Point* _ketama_points(self, ServerSet servers, View* view, uint32_t* count) except NULL:
        """libketama's continuum; shares and counts in single precision, as there."""
        cdef float total = 0
        cdef float share
        cdef uint32_t hosts = 0
        cdef uint32_t i, k, r, digests, n = 0
        cdef Point* points
        cdef bytes digest
        for i in range(view.nseats):
            total += view.seats[i].weight
            hosts += view.seats[i].weight > 0
        points = <Point*>malloc((<size_t>hosts * 160 + view.nseats * 4) * sizeof(Point))
        if points is NULL:
            raise MemoryError()
        try:
            for i in range(view.nseats):
                share = <float>view.seats[i].weight / total
                digests = <uint32_t>floorf(<float>(share * 40.0 * <float>hosts))
                name = servers.names[view.seats[i].slot]
                if self._short_names:
                    name = name.removesuffix(":11211")
                for k in range(digests):
                    digest = md5(f"{name}-{k}".encode(), usedforsecurity=False).digest()
                    for r in range(4):
                        points[n].hash = fl_read32(<const char*>digest + 4 * r)
                        points[n].seat = i
                        n += 1
        except BaseException:
            free(points)
            raise
        if n == 0:                      # weights so uneven that nobody has a whole digest: everybody one point
            for i in range(view.nseats):
                if view.seats[i].weight:
                    points[n].hash = <uint32_t>(mix64(view.seats[i].identity) >> 32)
                    points[n].seat = i
                    n += 1
        count[0] = n
        return points

    cdef int pick(self, Ask* ask) noexcept:
        cdef uint32_t hash = <uint32_t>(ask.key >> 32)
        cdef uint32_t at
        cdef uint32_t refused
        cdef const Seat* seat
        if ask.attempt == 0:
            at = self._starts[hash >> self._shift]
            while at < self._count and self._points[at].hash < hash:
                at += 1
            if at >= self._count:
                at = 0
            seat = &self.view.seats[self._points[at].seat]
            if seat.member >= 0:
                self._at = at
                return seat.member
        else:
            at = self._at
        while True:
            ask.attempt += 1
            if ask.attempt >= self.attempts:
                return -1
            refused = self._points[at].seat
            hash = 0
            while self._points[at].seat == refused and hash < self._count:
                at = at + 1 if at + 1 < self._count else 0
                hash += 1
            seat = &self.view.seats[self._points[at].seat]
            if seat.member >= 0:
                self._at = at
                return seat.member

    def continuum(self):
        """[(point, seat), ...] in order; for tests and for comparing with other implementations."""
        return [(self._points[i].hash, self._points[i].seat) for i in range(self._count)]


def ketama_key(bytes key):
    """Key for `select` of a ring with ketama points: libketama's 32-bit hash of `key` in the upper half."""
    cdef bytes digest = md5(key, usedforsecurity=False).digest()
    return <uint64_t>fl_read32(<const char*>digest) << 32


OPTIONS = {"points": integer(1, 10000), "hash": choice("xxh3", "ketama", "libmemcached")}
