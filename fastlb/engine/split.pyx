"""Weighted split of a route's requests over backends, as for a canary.

With a key, a client stays on its side: the hash of the key is a place on a line that the weights divide. When a weight
grows, those beyond the border change sides and nobody else. Requests without the key are shared at random.
"""

from libc.stdlib cimport calloc, free
from fastlb._core.bits cimport mix64
from fastlb._core.xxh3 cimport xxh3_64
from fastlb.engine.affinity import KEYS
from fastlb.engine.request_key cimport KEY_NONE, find_key


cdef class Split:
    """variants: objects with their weights; key: as of rate limits, '' = none; salt: tells splits apart."""

    def __cinit__(self, variants, str key="", str salt=""):
        cdef uint32_t total = 0
        cdef int i
        kind, _, name = key.partition(":")
        self.key_kind = KEYS[kind] if key else KEY_NONE
        self.key_name = (name.lower() if kind == "header" else name).encode()
        raw = salt.encode()
        self.salt = xxh3_64(<const char*>raw, len(raw))
        self.seed = self.salt
        self.variants = [variant for variant, _ in variants]
        self.count = len(self.variants)
        self.by_index = <PyObject**>calloc(self.count, sizeof(PyObject*))
        self.below = <uint32_t*>calloc(self.count, sizeof(uint32_t))
        if self.by_index == NULL or self.below == NULL:
            raise MemoryError
        for i, (variant, weight) in enumerate(variants):
            total += <uint32_t>weight
            self.by_index[i] = <PyObject*>variant
            self.below[i] = total
        if total == 0:
            raise ValueError("every weight is 0")

    def __dealloc__(self):
        free(self.by_index)
        free(self.below)

    cdef PyObject* choose(self, const RequestHead* h, const char* base, const sockaddr* client) noexcept:
        cdef uint64_t place
        cdef const char* p = NULL
        cdef size_t n = 0
        cdef int i
        if self.key_kind != KEY_NONE:
            p = find_key(self.key_kind, self.key_name, <size_t>len(self.key_name), h, base, client, &n)
        if p != NULL and n:
            place = mix64(xxh3_64(p, n) ^ self.salt)
        else:
            self.seed += 0x9e3779b97f4a7c15ULL
            place = mix64(self.seed)
        # To a multiple of the sum, without a division: 32 bits of the hash are plenty for weights.
        place = (place >> 32) * self.below[self.count - 1] >> 32
        for i in range(self.count - 1):
            if place < self.below[i]:
                return self.by_index[i]
        return self.by_index[self.count - 1]
