# A run of bytes inside some buffer, by offset, so that the buffer may move. Never outlives the buffer it was made for.
from libc.stdint cimport uint32_t

ctypedef struct Span:
    uint32_t off
    uint32_t len
