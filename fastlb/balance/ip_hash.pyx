"""ip_hash as in nginx: a client address keeps its server, all addresses of an IPv4 /24 share one.

The hash runs h = (h * 113 + octet) mod 6271 from 89 over the octets; h mod sum of weights chooses the server by running
sums over all servers of the tier, down or not, so that only the clients of a server that is down move. A refused choice
continues the hash over the same octets. That step is linear, h -> h * 113^k + s (mod 6271) for k octets, so a key
need only hold the first h and k, and the octets can be forgotten.
"""

from libc.stdlib cimport free, malloc

from fastlb._core.bits cimport mix64
from fastlb._core.xxh3 cimport xxh3_64
from fastlb.balance.options import BOUND, registry
from fastlb.balance.tiers cimport same_seats

cdef enum:
    START = 89
    FACTOR = 113
    MODULUS = 6271

cdef uint64_t MARK = <uint64_t>0x6970 << 48     # "ip": a key made by ip_key, not by a general hash


cdef uint64_t ip_key(const uint8_t* address, int length) noexcept nogil:
    cdef uint32_t h = START
    cdef int i
    cdef int octets = 3 if length == 4 else length
    for i in range(octets):
        h = (h * FACTOR + address[i]) % MODULUS
    return MARK | <uint64_t>octets << 32 | h


cdef inline uint64_t _next_hash(uint64_t key, uint64_t h) noexcept nogil:
    """The hash after one more run over the octets."""
    cdef uint32_t power = 1, rest
    if (key ^ MARK) >> 48:
        return mix64(h + 1)             # some other hash: any other number will do
    for _ in range(<int>(key >> 32 & 0xFF)):
        power = power * FACTOR % MODULUS
    rest = (<uint32_t>(key & 0xFFFF) + MODULUS - START * power % MODULUS) % MODULUS
    return (<uint32_t>h * power + rest) % MODULUS


cdef class IpHash(Algorithm):
    """By address. O(log n) to pick, O(n) to build. Option `bound` as in consistent_hash.

    Source: nginx ngx_http_upstream_ip_hash_module.c, 20 tries and then any server that can take it.
    """

    def __init__(self, dict options, bint shared):
        Algorithm.__init__(self, options, shared)
        self.keyed = True
        self.attempts = 20

    def __dealloc__(self):
        free(self._sums)

    cdef int rebuild(self, ServerSet servers, View* view) except -1:
        cdef uint64_t* sums
        cdef uint64_t total = 0
        cdef uint32_t i
        if not same_seats(self.view, view):
            sums = <uint64_t*>malloc((view.nseats + 1) * sizeof(uint64_t))
            if sums is NULL:
                raise MemoryError()
            for i in range(view.nseats):
                total += view.seats[i].weight
                sums[i] = total
            free(self._sums)
            self._sums = sums
        self.view = view
        return 0

    cdef uint64_t key_of(self, const void* data, size_t size) noexcept:
        return ip_key(<const uint8_t*>data, <int>size) if size == 4 or size == 16 else xxh3_64(data, size)

    cdef int pick(self, Ask* ask) noexcept:
        cdef uint64_t h = ask.key
        cdef uint64_t point
        cdef uint32_t low, high, middle
        if not (ask.key ^ MARK) >> 48:
            h = ask.key & 0xFFFF
        for _ in range(ask.attempt):
            h = _next_hash(ask.key, h)
        while True:
            point = h % self._sums[self.view.nseats - 1]
            low = 0
            high = self.view.nseats - 1
            while low < high:           # the first seat whose sum is above the point
                middle = (low + high) >> 1
                if self._sums[middle] > point:
                    high = middle
                else:
                    low = middle + 1
            if self.view.seats[low].member >= 0:
                return self.view.seats[low].member
            ask.attempt += 1
            if ask.attempt >= self.attempts:
                return -1
            h = _next_hash(ask.key, h)


def key_of_ip(bytes address):
    """Key of a packed address (4 or 16 octets)."""
    return ip_key(<const uint8_t*><const char*>address, len(address))


def hash_of_ip(bytes address):
    """nginx's hash of a packed address, 0..6270."""
    return ip_key(<const uint8_t*><const char*>address, len(address)) & 0xFFFF


registry["ip_hash"] = (IpHash, {"bound": BOUND})
