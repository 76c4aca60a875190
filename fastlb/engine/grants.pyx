"""Credentials that were verified already.

Nothing of them is kept but a digest under a key that lives in this process alone, so neither a core dump nor the time
that a look-up takes tells a password. The table is bounded: four places a bucket; who is thrown out is verified again.
"""

import os

from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from fastlb._core.sha256 cimport fl_hmac_key, fl_same_secret
from fastlb.engine.extras cimport Extras

cdef extern from *:
    """
    #include "sha256.h"
    /* HMAC of a message of any length. */
    static void fl_hmac_any(const fl_hmac *k, const uint8_t *p, size_t n, uint8_t out[32]) {
        uint32_t state[8];
        uint8_t block[64];
        uint64_t total = 64 + n;
        memcpy(state, k->inner, sizeof(state));
        for (; n >= 64; p += 64, n -= 64)
            fl_sha256_block(state, p);
        if (n > 55) {
            memset(block, 0, sizeof(block));
            memcpy(block, p, n);
            block[n] = 0x80;
            fl_sha256_block(state, block);
            memset(block, 0, sizeof(block));
            for (int i = 0; i < 8; i++) block[63 - i] = (uint8_t)(total * 8 >> 8 * i);
            fl_sha256_block(state, block);
        } else {
            fl_sha256_last(state, p, n, total);
        }
        fl_sha256_bytes(state, out);
        memcpy(state, k->outer, sizeof(state));
        fl_sha256_last(state, out, 32, 96);
        fl_sha256_bytes(state, out);
    }
    """
    void fl_hmac_any(const fl_hmac* k, const uint8_t* p, size_t n, uint8_t* out) noexcept nogil

cdef enum:
    WAYS = 4


cdef class Grant:
    """What verified credentials give: lines for the server's head, a name for the log, until when.

    lines: pairs of name and value as bytes. ValueError where one would not be a line.
    """

    def __init__(self, lines=(), bytes user=b"", uint64_t until_ms=0):
        cdef Extras made = Extras.__new__(Extras)
        cdef bytes name, value
        for name, value in lines:
            if not made.add_request(name, len(name), value, len(value)):
                raise ValueError(f"{name.decode('latin-1')}: its value cannot be a header field's")
        self.lines = made.request.data[:made.request.end] if made.request != NULL else b""
        self.user = user
        self.until_ms = until_ms


cdef class Grants:
    """Up to `size` grants by credentials, `size` rounded up to a power of two of at least four."""

    def __cinit__(self, unsigned size=4096):
        cdef uint32_t buckets = 1
        cdef bytes key = os.urandom(32)
        while buckets * WAYS < size:
            buckets *= 2
        self.mask = buckets - 1
        fl_hmac_key(&self.key, <const char*>key, 32)
        self.slots = <GrantSlot*>calloc(buckets * WAYS, sizeof(GrantSlot))
        if self.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef uint32_t i
        if self.slots != NULL:
            for i in range((self.mask + 1) * WAYS):
                Py_XDECREF(self.slots[i].grant)
        free(self.slots)

    cdef void digest(self, const char* p, size_t n, uint8_t* out) noexcept:
        fl_hmac_any(&self.key, <const uint8_t*>p, n, out)

    cdef Grant find(self, const uint8_t* digest, uint64_t now_ms):
        cdef GrantSlot* bucket = &self.slots[((<uint32_t>digest[0] | <uint32_t>digest[1] << 8
                                               | <uint32_t>digest[2] << 16) & self.mask) * WAYS]
        cdef Grant grant
        cdef int i
        for i in range(WAYS):
            if bucket[i].grant != NULL and fl_same_secret(bucket[i].digest, digest, DIGEST):
                grant = <Grant>bucket[i].grant
                return grant if grant.until_ms > now_ms else None
        return None

    cdef void put(self, const uint8_t* digest, Grant grant, uint64_t now_ms) noexcept:
        cdef GrantSlot* bucket = &self.slots[((<uint32_t>digest[0] | <uint32_t>digest[1] << 8
                                               | <uint32_t>digest[2] << 16) & self.mask) * WAYS]
        cdef GrantSlot* victim = NULL
        cdef PyObject* before
        cdef int i
        for i in range(WAYS):
            if bucket[i].grant == NULL or fl_same_secret(bucket[i].digest, digest, DIGEST):
                victim = &bucket[i]
                break
            if victim == NULL or (<Grant>bucket[i].grant).until_ms < (<Grant>victim.grant).until_ms:
                victim = &bucket[i]
        before = victim.grant
        Py_INCREF(grant)
        victim.grant = <PyObject*>grant
        memcpy(victim.digest, digest, DIGEST)
        Py_XDECREF(before)


def table_probe(size, operations):
    """What a table of `size` says to `operations` ('put' or 'find', credentials, until or now): of each find the user
    or None. For tests."""
    cdef Grants grants = Grants(size)
    cdef Grant grant
    cdef uint8_t digest[DIGEST]
    cdef bytes credentials
    found = []
    for kind, credentials, when in operations:
        grants.digest(credentials, len(credentials), digest)
        if kind == "put":
            grants.put(digest, Grant((), credentials, when), 0)
        else:
            grant = grants.find(digest, when)
            found.append(None if grant is None else grant.user)
    return found


def keyed_digest(bytes key not None, bytes message not None):
    """HMAC-SHA256 as the table makes it, for tests."""
    cdef fl_hmac k
    cdef uint8_t out[32]
    fl_hmac_key(&k, <const char*>key, len(key))
    fl_hmac_any(&k, <const uint8_t*><const char*>message, len(message), out)
    return out[:32]
