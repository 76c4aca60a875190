# Chunked transfer coding (RFC 9112 section 7.1), strict: extensions by the grammar, CRLF only, bounded lines, checked
# trailers.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

ctypedef struct Chunked:
    uint8_t state
    uint8_t reason              # Reason, when refused
    uint8_t digits
    uint8_t flags
    uint16_t line               # bytes of the line being read (size line with extensions, or trailer line)
    uint16_t trailers           # bytes of the trailer section so far
    uint32_t excess             # extension bytes not yet made up for by body bytes
    uint64_t left               # of the current chunk
    uint64_t total              # decoded bytes so far
    char name[24]               # trailer name being read, as far as it can be one that is refused

cdef enum:
    CHUNK_DIGITS_MAX = 16       # hexadecimal digits of a size, leading zeros included
    CHUNK_LINE_MAX = 4096       # bytes of one size line with its extensions
    CHUNK_EXCESS_MAX = 16384    # see chunked.pyx
    TRAILERS_MAX = 8192         # bytes of the trailer section

cdef enum ChunkEvent:
    CHUNK_ERROR = -1
    CHUNK_MORE = 0              # all n bytes consumed, body not finished
    CHUNK_DATA = 1              # data[0:data_len] is a run of body bytes inside the input; call again with the rest
    CHUNK_END = 2               # last byte of the message consumed; the rest is not ours

cdef void chunked_reset(Chunked* c) noexcept nogil
# Decode: stops at each run of data. `consumed` counts the input bytes used, the run included.
cdef int chunked_next(Chunked* c, const char* buf, size_t n, size_t* consumed,
                      const char** data, size_t* data_len) noexcept nogil
# Validate only, for passing the bytes through as they are: CHUNK_MORE, CHUNK_END or CHUNK_ERROR. `consumed` as above;
# on CHUNK_ERROR it counts the bytes before the fault.
cdef int chunked_scan(Chunked* c, const char* buf, size_t n, size_t* consumed) noexcept nogil
