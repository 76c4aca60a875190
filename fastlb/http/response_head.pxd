# Response head parser, as strict as the request's.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastlb._core.span cimport Span
from fastlb.http.fields cimport Field, HeadLimits, MAX_FIELDS

ctypedef struct ResponseHead:
    # --- resume state, private to the parser
    uint32_t pos
    uint32_t start
    uint8_t state
    # --- result
    uint8_t minor
    uint8_t framing             # Framing; decided with the request's method
    uint8_t keep_alive          # the server keeps the connection
    uint8_t connection_names
    uint8_t upgrade
    uint8_t reason              # Reason, when refused
    uint16_t status
    uint16_t nfields
    uint32_t repeated           # bit FieldId: more than one such field
    uint16_t seen[32]
    uint64_t content_length
    uint32_t length
    Span phrase                 # reason phrase
    Field fields[MAX_FIELDS]

cdef void response_head_reset(ResponseHead* h) noexcept nogil
# `method` (Method) of the request decides the framing of answers to HEAD and CONNECT.
# > 0: complete, the head's length; PARSE_MORE; PARSE_ERROR with h.reason.
cdef int parse_response_head(ResponseHead* h, const char* buf, uint32_t n, const HeadLimits* limits,
                             int method) noexcept nogil
cdef size_t response_head_size(const ResponseHead* h) noexcept nogil
