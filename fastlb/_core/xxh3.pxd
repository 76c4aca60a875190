# XXH3-64 with seed 0 and the default secret: the hash of keys and of server names (xxh3.h).
from libc.stdint cimport uint64_t

cdef extern from "xxh3.h" nogil:
    # O(len); reads data[0:len] and nothing else. With len 0 any pointer will do.
    uint64_t xxh3_64 "fl_xxh3_64"(const void* data, size_t len)
