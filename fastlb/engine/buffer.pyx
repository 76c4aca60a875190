"""Pooled byte buffers in five sizes. An idle connection holds none."""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from fastlb._core.debug cimport FASTLB_DEBUG, LIVE_BUFFER, live_counters

cdef enum:
    CLASSES = 5
    POOL_NONE = 99
    RETAIN = 4 * 1024 * 1024    # bytes kept a size class; what is over goes back to the allocator

cdef size_t[CLASSES] _sizes = [1024, 4096, 16384, 65536, 270336]
cdef Chunk* _free[CLASSES]
cdef size_t _kept[CLASSES]


cdef Chunk* chunk_new(size_t need) noexcept nogil:
    cdef uint32_t i = 0
    cdef Chunk* c
    while i < CLASSES and _sizes[i] < need:
        i += 1
    if i < CLASSES and _free[i] != NULL:
        c = _free[i]
        _free[i] = c.next
        _kept[i] -= _sizes[i]
    else:
        c = <Chunk*>malloc(sizeof(Chunk) + (_sizes[i] if i < CLASSES else need))
        if c == NULL:
            return NULL
        c.cap = <uint32_t>(_sizes[i] if i < CLASSES else need)
        c.pool = i if i < CLASSES else POOL_NONE
    if FASTLB_DEBUG:
        live_counters()[LIVE_BUFFER] += 1
    c.next = NULL
    c.start = 0
    c.end = 0
    return c


cdef void chunk_free(Chunk* c) noexcept nogil:
    if c == NULL:
        return
    if FASTLB_DEBUG:
        live_counters()[LIVE_BUFFER] -= 1
    if c.pool == POOL_NONE or _kept[c.pool] >= RETAIN:
        free(c)
        return
    c.next = _free[c.pool]
    _free[c.pool] = c
    _kept[c.pool] += _sizes[c.pool]


cdef void chunks_free(Chunk* c) noexcept nogil:
    cdef Chunk* following
    while c != NULL:
        following = c.next
        chunk_free(c)
        c = following


cdef void chunks_trim() noexcept nogil:
    cdef uint32_t i
    cdef Chunk* c
    for i in range(CLASSES):
        while _free[i] != NULL:
            c = _free[i]
            _free[i] = c.next
            free(c)
        _kept[i] = 0


cdef Chunk* chunk_grow(Chunk* c, size_t need) noexcept nogil:
    cdef Chunk* bigger
    cdef uint32_t used = c.end - c.start
    if c.cap >= need and c.start == 0:
        return c
    bigger = chunk_new(need)
    if bigger == NULL:
        return NULL
    memcpy(bigger.data, c.data + c.start, used)
    bigger.end = used
    chunk_free(c)
    return bigger


cdef Chunk* chunk_cut(Chunk* c, uint32_t keep) noexcept nogil:
    cdef Chunk* smaller
    if c.cap > 4096 and keep <= c.cap // 4:
        smaller = chunk_new(keep)
        if smaller != NULL:
            memcpy(smaller.data, c.data, keep)
            chunk_free(c)
            c = smaller
    c.end = keep
    return c
