# HMAC-SHA256 of short messages (sha256.h).
from libc.stdint cimport uint8_t, uint32_t

cdef extern from "sha256.h" nogil:
    ctypedef struct fl_hmac:
        uint32_t inner[8]
        uint32_t outer[8]
    void fl_hmac_key(fl_hmac* k, const void* key, size_t n)         # n <= 64
    void fl_hmac_short(const fl_hmac* k, const void* data, size_t n, uint8_t* out)      # n <= 55; out[0:32]
    bint fl_same_secret(const uint8_t* a, const uint8_t* b, size_t n)
