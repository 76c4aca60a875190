"""Spans on their way out of the engine: records of fixed fields and texts, in a block of memory that is emptied often.

A record: length of all of it (uint32), then `HEAD` as struct.unpack reads it, then the texts one behind another, whose
lengths are the last fields of HEAD. Texts are cut at LIMITS, as no collector wants more of them.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef enum:
    ROOM = 1 << 20              # bytes between two takes: some 3,000 spans
    TEXTS = 10

cdef packed struct Head:
    uint32_t size
    int64_t start_us
    uint64_t bytes_in
    uint64_t bytes_out
    int32_t head
    int32_t queue
    int32_t connect
    int32_t response
    uint32_t total_us
    uint16_t status
    uint16_t client_port
    uint8_t https
    uint8_t minor
    uint8_t retries
    uint8_t redispatched
    char term[4]
    char trace_id[32]
    char span_id[16]
    char parent_id[16]          # NULs: the trace begins here
    uint16_t length[TEXTS]

ctypedef struct Text:
    const char* p
    uint32_t n

# For readers of `take`: the fields of Head behind `size`, and the names of the texts in order.
HEAD = "<qQQiiiiIHHBBBB4s32s16s16s10H"
NAMES = ("client", "frontend", "route", "backend", "server", "line", "host", "user_agent", "request_id", "reason")

cdef extern from *:
    """
    static const unsigned short fl_span_limits[10] = {64, 255, 255, 255, 255, 2048, 255, 512, 128, 255};
    """
    const uint16_t* LIMITS "fl_span_limits"


cdef class SpanBuffer:
    """Of one worker. `add` and `take` belong to the engine's thread."""

    def __dealloc__(self):
        free(self._data)

    cdef void add(self, const LogRecord* r, const SpanFacts* f) noexcept nogil:
        cdef Text texts[TEXTS]
        cdef Head head
        cdef uint32_t size = sizeof(Head)
        cdef char* p
        cdef int i
        texts[0] = Text(r.client, r.client_len)
        texts[1] = Text(r.frontend, r.frontend_len)
        texts[2] = Text(f.route, f.route_len)
        texts[3] = Text(r.backend, r.backend_len)
        texts[4] = Text(r.server, r.server_len)
        texts[5] = Text(r.line, r.line_len)
        texts[6] = Text(r.host, r.host_len)
        texts[7] = Text(r.user_agent, r.user_agent_len)
        texts[8] = Text(r.request_id, r.request_id_len)
        texts[9] = Text(r.reason, r.reason_len)
        for i in range(TEXTS):
            head.length[i] = <uint16_t>(texts[i].n if texts[i].n < LIMITS[i] else LIMITS[i])
            size += head.length[i]
        if self._data == NULL:
            self._data = <char*>malloc(ROOM)
        if self._data == NULL or size > ROOM - self._used:
            self._lost += 1
            return
        head.size = size
        head.start_us = r.start_us
        head.bytes_in = r.bytes_in
        head.bytes_out = r.bytes_out
        head.head = f.head
        head.queue = f.queue
        head.connect = f.connect
        head.response = f.response
        head.total_us = r.ta_us
        head.status = r.status
        head.client_port = r.client_port
        head.https = r.https
        head.minor = r.minor
        head.retries = r.retries
        head.redispatched = r.redispatched
        memcpy(head.term, r.term, 4)
        memcpy(head.trace_id, f.trace_id, 32)
        memcpy(head.span_id, f.span_id, 16)
        if f.parent_id != NULL:
            memcpy(head.parent_id, f.parent_id, 16)
        else:
            memset(head.parent_id, 0, 16)
        p = self._data + self._used
        memcpy(p, &head, sizeof(Head))
        p += sizeof(Head)
        for i in range(TEXTS):
            if head.length[i]:
                memcpy(p, texts[i].p, head.length[i])
                p += head.length[i]
        self._used += size
        self._count += 1

    def take(self):
        """(records, how many they are, how many had no room) since the last call."""
        if self._count == 0 and self._lost == 0:
            return b"", 0, 0
        taken = self._data[:self._used] if self._used else b"", self._count, self._lost
        self._used = 0
        self._count = 0
        self._lost = 0
        return taken
