# Pooled byte buffers, held only by connections that have something to keep.
from libc.stdint cimport uint32_t

# [start, end) of data[0:cap] is in use. Linked when a stream has more than one.
cdef struct Chunk:
    Chunk* next
    uint32_t cap
    uint32_t start
    uint32_t end
    uint32_t pool               # size class, or POOL_NONE
    char data[1]

# At least `need` bytes of room; NULL when out of memory. O(1).
cdef Chunk* chunk_new(size_t need) noexcept nogil
cdef void chunk_free(Chunk* c) noexcept nogil
# Frees a whole list.
cdef void chunks_free(Chunk* c) noexcept nogil
# Gives what is kept for the next ones back to the allocator.
cdef void chunks_trim() noexcept nogil
# The first `keep` bytes of a chunk that starts at 0, in a smaller one where that saves room; frees `c` when it moves.
cdef Chunk* chunk_cut(Chunk* c, uint32_t keep) noexcept nogil
# A chunk with room for `need` bytes in all that begins with the bytes of `c`, which is freed when it moves; NULL keeps
# `c`.
cdef Chunk* chunk_grow(Chunk* c, size_t need) noexcept nogil
