"""How a message body is delimited: the one place that decides it (RFC 9112 section 6.3).

Framing that two readers could take differently is refused, never repaired: Content-Length with Transfer-Encoding,
more than one Content-Length even when they agree, a Transfer-Encoding that is anything but one "chunked".
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastlb.http.fields cimport (
    FIELD_CONTENT_LENGTH,
    FIELD_HOP,
    FIELD_TRANSFER_ENCODING,
    FRAMING_CHUNKED,
    FRAMING_EOF,
    FRAMING_LENGTH,
    FRAMING_NONE,
    FRAMING_TUNNEL,
    PARSE_ERROR,
    REASON_CONTENT_LENGTH,
    REASON_LENGTH_AND_CHUNKED,
    REASON_TE_UNKNOWN,
    REASON_TRANSFER_ENCODING,
    Field,
)
from fastlb.http.scan cimport FL_DIGIT, FL_LENGTH_MAX, FL_TOKEN, fl_is, fl_run, fl_same_name


cdef bint parse_length(const char* text, size_t n, uint64_t* value) noexcept nogil:
    cdef uint64_t total = 0
    cdef size_t i
    if n == 0:
        return False
    for i in range(n):
        if not fl_is(<uint8_t>text[i], FL_DIGIT):
            return False
        if total > FL_LENGTH_MAX // 10:
            return False
        total = total * 10 + <uint64_t>(text[i] - 48)
    value[0] = total
    return total <= FL_LENGTH_MAX


cdef inline int fault(FramingFacts* m, int reason, int status) noexcept nogil:
    m.reason = <uint8_t>reason
    m.status = <uint16_t>status
    return PARSE_ERROR


cdef bint is_chunked(const uint8_t* p, size_t n) noexcept nogil:
    return n == 7 and fl_same_name(p, <const uint8_t*>b"chunked", 7)


cdef bint ends_chunked(const uint8_t* p, const uint8_t* end) noexcept nogil:
    # A list of plain coding names, chunked once and last: understood, but more than fastlb decodes (501, RFC 9112 6.1).
    cdef const uint8_t* q
    cdef bint last = False
    while True:
        q = fl_run(p, end, FL_TOKEN)
        if q == p or last:
            return False
        last = is_chunked(p, <size_t>(q - p))
        p = q
        while p < end and (p[0] == 32 or p[0] == 9):
            p += 1
        if p == end:
            return last
        if p[0] != 44:
            return False
        p += 1
        while p < end and (p[0] == 32 or p[0] == 9):
            p += 1


# Transfer-Encoding and Content-Length as such: FRAMING_CHUNKED, FRAMING_LENGTH, FRAMING_NONE (neither is there), or
# PARSE_ERROR.
cdef int declared(FramingFacts* m, const char* buf) noexcept nogil:
    cdef Field* f
    cdef const char* end
    cdef uint32_t te = m.seen[FIELD_TRANSFER_ENCODING], length = m.seen[FIELD_CONTENT_LENGTH]
    m.content_length = 0
    if te:
        if length:
            return fault(m, REASON_LENGTH_AND_CHUNKED, 400)
        f = m.fields + te - 1
        # HTTP/1.0 knows no transfer codings; one in such a message was added by somebody who did not understand the
        # sender (RFC 9112 section 6.1).
        if m.minor == 0 or m.repeated >> FIELD_TRANSFER_ENCODING & 1:
            return fault(m, REASON_TRANSFER_ENCODING, 400)
        if is_chunked(<const uint8_t*>buf + f.value, f.value_len):
            # A tab behind it is white space by the RFC and part of the name for llhttp, which would then read another
            # framing: refused, as nobody sends it in good faith.
            end = buf + f.value + f.value_len
            while end[0] == 32:
                end += 1
            return FRAMING_CHUNKED if end[0] == 13 else fault(m, REASON_TRANSFER_ENCODING, 400)
        if ends_chunked(<const uint8_t*>buf + f.value, <const uint8_t*>buf + f.value + f.value_len):
            return fault(m, REASON_TE_UNKNOWN, 501)
        return fault(m, REASON_TRANSFER_ENCODING, 400)
    if length:
        f = m.fields + length - 1
        if m.repeated >> FIELD_CONTENT_LENGTH & 1 or not parse_length(buf + f.value, f.value_len, &m.content_length):
            return fault(m, REASON_CONTENT_LENGTH, 400)
        return FRAMING_LENGTH
    return FRAMING_NONE


cdef int request_framing(FramingFacts* m, const char* buf) noexcept nogil:
    cdef int kind = declared(m, buf)
    if kind < 0:
        return PARSE_ERROR
    m.framing = FRAMING_NONE if kind == FRAMING_LENGTH and m.content_length == 0 else <uint8_t>kind
    return 1


cdef int response_framing(FramingFacts* m, const char* buf, int status, bint to_head, bint to_connect,
                          bint* reusable) noexcept nogil:
    cdef int kind = declared(m, buf)
    if kind < 0:
        return PARSE_ERROR
    if status < 200 or status == 204:
        # No body whatever the fields say, and none of them belongs there (RFC 9110 section 8.6, RFC 9112 section 6.1).
        # A server that announces one may be about to send it: after a 204 its connection is not used again, after a
        # 1xx the next bytes would be taken for the answer, so that is refused. A zero length is merely dropped.
        if kind == FRAMING_CHUNKED or m.content_length:
            if status < 200:
                if kind == FRAMING_CHUNKED:
                    return fault(m, REASON_TRANSFER_ENCODING, 400)
                return fault(m, REASON_CONTENT_LENGTH, 400)
            reusable[0] = False
        if kind == FRAMING_LENGTH:
            m.fields[m.seen[FIELD_CONTENT_LENGTH] - 1].flags |= FIELD_HOP
            m.content_length = 0
        m.framing = FRAMING_TUNNEL if status == 101 else FRAMING_NONE
        return 1
    if to_connect and status < 300:
        m.framing = FRAMING_TUNNEL
        return 1
    if to_head or status == 304:
        m.framing = FRAMING_NONE
        return 1
    if kind == FRAMING_NONE:
        m.framing = FRAMING_EOF
        reusable[0] = False
    else:
        m.framing = FRAMING_NONE if kind == FRAMING_LENGTH and m.content_length == 0 else <uint8_t>kind
    return 1
