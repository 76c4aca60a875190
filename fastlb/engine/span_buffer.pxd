# Finished requests whose traces are recorded, until the control side takes them: ten times a second.
from libc.stdint cimport int32_t, uint32_t, uint64_t

from fastlb.engine.log_record cimport LogRecord

# What a span has beside the access log's record. Pointers need live only for the call.
ctypedef struct SpanFacts:
    const char* trace_id        # 32 hex digits
    const char* span_id         # 16: ours, which the server was told as the parent of its own
    const char* parent_id       # 16; NULL = the trace begins here
    const char* route
    uint32_t route_len
    # microseconds, -1 = that point was never reached
    int32_t head                # first request byte to end of the head
    int32_t queue
    int32_t connect
    int32_t response

cdef class SpanBuffer:
    cdef:
        char* _data             # NULL until the first span
        uint32_t _used
        uint32_t _count         # spans in it
        uint64_t _lost          # had no room since the last take
    # Hot where a request is recorded, else never called. Never waits: what finds no room is counted.
    cdef void add(self, const LogRecord* r, const SpanFacts* f) noexcept nogil
