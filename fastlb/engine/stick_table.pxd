# Which server a key's requests go to, in memory that all workers share.
from libc.stdint cimport uint32_t, uint64_t
from fastlb._core.shared cimport StickBucket

# Hash of a key: never 0.
cdef uint64_t key_hash(const char* p, size_t n) noexcept

cdef class StickTable:
    cdef:
        StickBucket* buckets
        uint32_t mask               # buckets - 1
        uint32_t* locks             # LOCKS words
        uint32_t owner              # worker + 1
        uint64_t expire_ms          # since the last use; 0 = never
        object region               # keeps the memory; not to be asked at the end, when the collector has cleared it
        bint owned                  # the memory is the table's own

    # Hot. The server (its index in the region) of a key, or -1. Its time begins anew. Lock-free; two cache lines.
    cdef int find(self, uint64_t key, uint64_t now_ms) noexcept
    # Hot. Binds the key to a server unless it is bound already: then, and otherwise, the server it is bound to. `text`
    # is shown to people. Where no place is free in its bucket the entry unused for longest leaves.
    cdef int claim(self, uint64_t key, int server, const char* text, size_t n, uint64_t now_ms) noexcept
    # Hot. Binds the key to a server whatever it was bound to.
    cdef void bind(self, uint64_t key, int server, const char* text, size_t n, uint64_t now_ms) noexcept
    cdef int _enter(self, uint64_t key, int server, const char* text, size_t n, uint64_t now_ms, bint move) noexcept
