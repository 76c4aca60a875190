# Credentials that were verified already: what a request gets that brings them again.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from cpython.object cimport PyObject
from fastlb._core.sha256 cimport fl_hmac

cdef enum:
    DIGEST = 32

cdef class Grant:
    cdef:
        bytes lines             # for the server's head, each with its CRLF
        bytes user              # for the log
        uint64_t until_ms       # of the reactor's clock

cdef struct GrantSlot:
    uint8_t digest[DIGEST]
    PyObject* grant             # owned; NULL = free

cdef class Grants:
    cdef:
        fl_hmac key
        GrantSlot* slots
        uint32_t mask           # of buckets
    # What stands for the credentials p[0:n]: HMAC-SHA256 under a key of this table, made when it was. O(n).
    cdef void digest(self, const char* p, size_t n, uint8_t* out) noexcept
    # None when they were not verified, or too long ago. O(1), no allocation.
    cdef Grant find(self, const uint8_t* digest, uint64_t now_ms)
    # Keeps a grant, in place of the one of its bucket that ends first.
    cdef void put(self, const uint8_t* digest, Grant grant, uint64_t now_ms) noexcept
