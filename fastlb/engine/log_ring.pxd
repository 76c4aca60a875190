# From the thread that makes lines to the one that writes them: chunks, one producer, one consumer, no lock.
from libc.stdint cimport int32_t, uint32_t, uint64_t

from fastlb.engine.log_sink cimport Sink

ctypedef struct Ring:
    # the producer's own
    char* pos                   # where the next line begins; NULL = no chunk in hand
    char* end
    uint32_t lines              # in the chunk in hand
    uint32_t current            # its number
    uint32_t fresh              # chunks from here on were never used
    uint32_t head_free          # next to take from `spare`
    uint64_t accepted           # lines
    uint64_t refused            # lines dropped because every chunk was waiting for the target
    # copies of what is handed over, while somebody watches
    char* tap                   # NULL = nobody does
    uint32_t tap_used
    uint32_t tap_size
    uint64_t tap_lost           # lines that had no room there
    # fixed
    uint32_t count              # chunks
    uint32_t chunk
    char* memory
    uint32_t* full              # numbers handed over, in order
    uint32_t* spare             # numbers given back
    uint32_t* size              # bytes used, by number
    uint32_t* held              # lines, by number
    # handed over: atomics
    uint32_t tail_full          # by the producer
    uint32_t head_full          # by the consumer, after the chunk was delivered
    uint32_t tail_spare         # by the consumer
    uint32_t sleeping
    uint32_t stop
    uint32_t reopen             # counts requests
    uint32_t line_limit         # by the consumer: bytes of a whole line that the target takes, 0 = any
    uint32_t watched            # somebody waits for `done_fd`
    int wake_fd
    int done_fd
    # the consumer's own, read by others with atomic loads
    uint64_t written            # lines
    uint64_t lost               # lines that the target refused
    uint32_t reopened           # requests seen
    uint32_t reopen_failed      # errno of the last one, 0 = it worked
    Sink sink

# While watching: a copy of every chunk that is handed over goes to `tap`; the caller empties it. -1 = no memory.
cdef int ring_watch(Ring* g, uint32_t size) noexcept nogil
cdef void ring_unwatch(Ring* g) noexcept nogil

# A chunk with room for `need` bytes, or NULL and the line counts as dropped. Slow path of ring_reserve.
cdef char* ring_next(Ring* g, uint32_t need) noexcept nogil
# Hand the chunk in hand over. Not `force`: only when the writer has nothing else to do, else it fills up further.
cdef void ring_flush(Ring* g, bint force) noexcept nogil
cdef bint ring_idle(Ring* g) noexcept nogil
cdef uint64_t ring_dropped(Ring* g) noexcept nogil
cdef uint64_t ring_written(Ring* g) noexcept nogil
# errno of a failed reopen, of the last lost line: once; 0 = none.
cdef int ring_reopen_error(Ring* g) noexcept nogil
cdef int ring_last_error(Ring* g) noexcept nogil


cdef uint32_t ring_line_limit(Ring* g) noexcept nogil


cdef inline char* ring_reserve(Ring* g, uint32_t need) noexcept nogil:
    if g.pos != NULL and g.end - g.pos >= <int32_t>need:
        return g.pos
    return ring_next(g, need)


cdef inline void ring_commit(Ring* g, char* end) noexcept nogil:
    g.pos = end
    g.lines += 1
    g.accepted += 1


# Owner of a ring, its target and its thread. Cold, but for `ring`.
cdef class LogWriter:
    cdef Ring* ring             # NULL after finish()
    cdef object _owner
    cdef object _thread
    cdef readonly str target
    # final figures, set by finish()
    cdef uint64_t refused
    cdef uint64_t lost
    cdef uint64_t written

    # Open the target again (its file was renamed). Asynchronous; lines handed over earlier may follow it.
    cdef void reopen(self) noexcept
    # Producer's thread only: hand everything over, wait until it is delivered and reopening done; False = too late.
    cdef bint sync(self, double seconds) except -1
    # Producer's thread only: deliver what is left within `seconds` and end the thread. False when lines were dropped.
    cdef bint finish(self, double seconds) except -1
