"""The hash table of flows.

Open addressing with linear probing over an array of pointers, at most three quarters full; taking one out closes the
gap (Knuth, TAOCP 3, 6.4 algorithm R), so there are no tombstones and no degradation over time. The hash is keyed with a
secret of the process: whoever forges addresses cannot aim at one chain.
"""

import os

from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset
from fastlb._core.bits cimport fl_fold64, fl_read64
from fastlb._core.net cimport AF_INET

cdef enum:
    SMALLEST = 64               # slots


cdef void flow_key(FlowKey* key, const fl_dgram* d, bint port, bint local) noexcept nogil:
    memset(key, 0, sizeof(FlowKey))
    key.family = d.peer.head.sa_family
    if key.family == AF_INET:
        memcpy(key.address, &d.peer.v4.sin_addr, 4)
        if port:
            key.port = d.peer.v4.sin_port
    else:
        memcpy(key.address, &d.peer.v6.sin6_addr, 16)
        key.scope = d.peer.v6.sin6_scope_id
        if port:
            key.port = d.peer.v6.sin6_port
    if local:
        memcpy(key.local, d.local, 16)


cdef class FlowTable:
    """Flows by key. Holds no references: what is in it takes itself out before it goes."""

    def __cinit__(self):
        secret = os.urandom(16)
        memcpy(self.secret, <const char*>secret, 16)
        if not self._resize(SMALLEST):
            raise MemoryError

    def __dealloc__(self):
        free(self.slots)

    cdef void hash_key(self, FlowKey* key) noexcept nogil:
        cdef const char* p = <const char*>key
        cdef uint64_t h = fl_fold64(fl_read64(p) ^ self.secret[0], fl_read64(p + 8) ^ self.secret[1])
        h ^= fl_fold64(fl_read64(p + 16) ^ self.secret[1], fl_read64(p + 24) ^ 0x9e3779b97f4a7c15ull ^ self.secret[0])
        key.hash = fl_fold64(h ^ fl_read64(p + 32), self.secret[0] | 1) ^ h

    cdef FlowKey* find(self, const FlowKey* key) noexcept nogil:
        cdef uint32_t i = <uint32_t>key.hash & self.mask
        cdef FlowKey* k = self.slots[i]
        while k != NULL:
            if k.hash == key.hash and memcmp(k, key, KEY_BYTES) == 0:
                return k
            i = (i + 1) & self.mask
            k = self.slots[i]
        return NULL

    cdef bint put(self, FlowKey* key) noexcept nogil:
        cdef uint32_t i
        if (self.count + 1) * 4 > (<uint64_t>self.mask + 1) * 3 and not self._resize((self.mask + 1) * 2):
            return False
        i = <uint32_t>key.hash & self.mask
        while self.slots[i] != NULL:
            i = (i + 1) & self.mask
        self.slots[i] = key
        self.count += 1
        return True

    cdef bint remove(self, const FlowKey* key) noexcept nogil:
        cdef uint32_t i = <uint32_t>key.hash & self.mask
        cdef uint32_t gap, home
        cdef FlowKey* k
        while self.slots[i] != key:
            if self.slots[i] == NULL:
                return False
            i = (i + 1) & self.mask
        gap = i
        while True:
            i = (i + 1) & self.mask
            k = self.slots[i]
            if k == NULL:
                break
            home = <uint32_t>k.hash & self.mask
            # It may fill the gap unless its own place lies behind the gap.
            if ((i - home) & self.mask) >= ((i - gap) & self.mask):
                self.slots[gap] = k
                gap = i
        self.slots[gap] = NULL
        self.count -= 1
        if self.mask + 1 > SMALLEST and <uint64_t>self.count * 8 < self.mask:
            self._resize((self.mask + 1) // 2)          # without memory for less it stays as large as it is
        return True

    cdef bint _resize(self, uint32_t size) noexcept nogil:
        cdef FlowKey** old = self.slots
        cdef uint32_t n = self.mask + 1 if old != NULL else 0
        cdef FlowKey** made = <FlowKey**>calloc(size, sizeof(FlowKey*)) if size else NULL
        cdef uint32_t i, j
        if made == NULL:
            return False
        for j in range(n):
            if old[j] != NULL:
                i = <uint32_t>old[j].hash & (size - 1)
                while made[i] != NULL:
                    i = (i + 1) & (size - 1)
                made[i] = old[j]
        self.slots = made
        self.mask = size - 1
        free(old)
        return True


cdef class FlowTableProbe:
    """A table from Python, for tests: keys of 40 bytes, kept here."""

    cdef FlowTable table
    cdef FlowKey* keys
    cdef int capacity
    cdef list unused

    def __cinit__(self, int capacity, bint collide=False):
        """`collide`: the secret is zero, so that some keys hash alike."""
        self.table = FlowTable()
        self.capacity = capacity
        self.unused = list(range(capacity))
        self.keys = <FlowKey*>calloc(capacity, sizeof(FlowKey))
        if self.keys == NULL:
            raise MemoryError
        if collide:
            memset(self.table.secret, 0, 16)

    def __dealloc__(self):
        free(self.keys)

    cdef FlowKey* _find(self, bytes key) except? NULL:
        cdef FlowKey wanted
        if len(key) != KEY_BYTES:
            raise ValueError("a key has 40 bytes")
        memset(&wanted, 0, sizeof(wanted))
        memcpy(&wanted, <const char*>key, KEY_BYTES)
        self.table.hash_key(&wanted)
        return self.table.find(&wanted)

    def __contains__(self, bytes key not None):
        return self._find(key) != NULL

    def add(self, bytes key not None):
        """False when it is there already."""
        cdef FlowKey* k
        if self._find(key) != NULL:
            return False
        k = &self.keys[self.unused.pop()]
        memcpy(k, <const char*>key, KEY_BYTES)
        self.table.hash_key(k)
        if not self.table.put(k):
            raise MemoryError
        return True

    def discard(self, bytes key not None):
        """False when it was not there."""
        cdef FlowKey* k = self._find(key)
        if k == NULL:
            return False
        if not self.table.remove(k):
            raise AssertionError("found, and yet not there")
        self.unused.append(k - self.keys)
        return True

    def __len__(self):
        return self.table.count

    @property
    def slots(self):
        """Slots of the table."""
        return self.table.mask + 1
