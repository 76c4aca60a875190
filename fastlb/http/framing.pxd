# How a message body is delimited: the one place that decides it (RFC 9112 section 6.3).
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastlb.http.fields cimport Field

ctypedef struct FramingFacts:
    Field* fields
    const uint16_t* seen
    uint32_t repeated
    uint8_t minor               # HTTP/1.minor
    # --- result
    uint8_t framing
    uint8_t reason              # Reason, when refused
    uint16_t status             # 400 or 501, when refused
    uint64_t content_length

# 1, or PARSE_ERROR with status and reason.
cdef int request_framing(FramingFacts* m, const char* buf) noexcept nogil
# `status` of the response; `to_head`, `to_connect`: what the request was. Clears `reusable` when the connection cannot
# carry another message with certainty. May set FIELD_HOP on a Content-Length that the response must not have.
cdef int response_framing(FramingFacts* m, const char* buf, int status, bint to_head, bint to_connect,
                          bint* reusable) noexcept nogil
# Decimal number of n bytes, only digits, at most 2^62: 1, else 0 (RFC 9110 section 8.6).
cdef bint parse_length(const char* text, size_t n, uint64_t* value) noexcept nogil
