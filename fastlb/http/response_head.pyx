"""Response head parser: status line, fields, framing (RFC 9112 sections 4 to 6), as strict as the request's.

A server's answer that two readers could take differently is refused as a whole, since its bytes would reach a client
that may read them the other way.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from fastlb.http.fields cimport (
    CONNECTION_CLOSE,
    CONNECTION_KEEP_ALIVE,
    CONNECTION_NAMES,
    CONNECTION_UPGRADE,
    FIELD_CONNECTION,
    FIELD_UPGRADE,
    FieldScan,
    PARSE_ERROR,
    PARSE_MORE,
    REASON_BARE_CR,
    REASON_BARE_LF,
    REASON_CONNECTION,
    REASON_HEAD_TOO_LARGE,
    REASON_STATUS_LINE,
    connection_options,
    scan_fields,
)
from fastlb.http.framing cimport FramingFacts, response_framing
from fastlb.http.request_head cimport METHOD_CONNECT, METHOD_HEAD
from fastlb.http.scan cimport FL_DIGIT, FL_LIKELY, FL_UNLIKELY, fl_is, fl_scan_value

cdef enum State:
    STATUS = 0
    PHRASE
    FIELDS

cdef enum:
    STATUS_BYTES = 13           # "HTTP/1.1 200 " or "HTTP/1.1 200" CR


cdef void response_head_reset(ResponseHead* h) noexcept nogil:
    memset(h, 0, <size_t>(<char*>&h.fields - <char*>h))


cdef size_t response_head_size(const ResponseHead* h) noexcept nogil:
    # One field more than nfields: the line that is half read.
    cdef size_t count = <size_t>h.nfields + 1
    if count > MAX_FIELDS:
        count = MAX_FIELDS
    return <size_t>(<const char*>&h.fields - <const char*>h) + count * sizeof(Field)


cdef int refuse(ResponseHead* h, int reason) noexcept nogil:
    h.reason = <uint8_t>reason
    return PARSE_ERROR


# "HTTP/1.x NNN" and the byte after it, read again from the first byte when cut short. 1, PARSE_MORE or PARSE_ERROR.
cdef int read_status(ResponseHead* h, const uint8_t* p, uint32_t n) noexcept nogil:
    cdef const char* shape = b"HTTP/1.v sdd"
    cdef uint32_t i
    cdef uint8_t c
    cdef bint good
    for i in range(n if n < STATUS_BYTES - 1 else STATUS_BYTES - 1):
        c = p[i]
        if i < 7 or i == 8:
            good = c == <uint8_t>shape[i]
        elif i == 7:
            good = c == 48 or c == 49
        elif i == 9:
            good = 49 <= c <= 53            # classes 1 to 5 (RFC 9110 section 15)
        else:
            good = fl_is(c, FL_DIGIT)
        if not good:
            return refuse(h, REASON_BARE_LF if c == 10 else REASON_STATUS_LINE)
    if n < STATUS_BYTES:
        return PARSE_MORE
    c = p[12]
    # The space before an absent phrase is forgotten by many servers; it is harmless, since the line is written anew.
    if c != 32 and c != 13:
        return refuse(h, REASON_BARE_LF if c == 10 else REASON_STATUS_LINE)
    h.minor = <uint8_t>(p[7] - 48)
    h.status = <uint16_t>((p[9] - 48) * 100 + (p[10] - 48) * 10 + p[11] - 48)
    h.pos = h.phrase.off = 12 if c == 13 else 13
    return 1


cdef int status_line(ResponseHead* h, const uint8_t* base, const uint8_t* end) noexcept nogil:
    cdef const uint8_t* p
    cdef int r
    if h.state == STATUS:
        r = read_status(h, base, <uint32_t>(end - base))
        if FL_UNLIKELY(r <= 0):
            return r
        h.state = PHRASE
    p = fl_scan_value(base + h.pos, end, base)
    h.pos = <uint32_t>(p - base)
    if FL_UNLIKELY(p == end or (p[0] == 13 and p + 1 == end)):
        return PARSE_MORE
    if FL_UNLIKELY(p[0] != 13):
        return refuse(h, REASON_BARE_LF if p[0] == 10 else REASON_STATUS_LINE)
    if FL_UNLIKELY(p[1] != 10):
        return refuse(h, REASON_BARE_CR)
    h.phrase.len = h.pos - h.phrase.off
    h.pos += 2
    h.start = h.pos
    h.state = FIELDS
    return 1


cdef int conclude(ResponseHead* h, const char* buf, int method) noexcept nogil:
    cdef FramingFacts facts
    cdef int options = 0
    cdef bint reusable = True
    facts.fields = h.fields
    facts.seen = h.seen
    facts.repeated = h.repeated
    facts.minor = h.minor
    if FL_UNLIKELY(response_framing(&facts, buf, h.status, method == METHOD_HEAD,
                                    method == METHOD_CONNECT, &reusable) < 0):
        return refuse(h, facts.reason)
    h.framing = facts.framing
    h.content_length = facts.content_length
    h.keep_alive = h.minor
    if h.seen[FIELD_CONNECTION]:
        options = connection_options(h.fields, h.nfields, h.seen, h.repeated >> FIELD_CONNECTION & 1, buf)
        if options < 0:
            return refuse(h, REASON_CONNECTION)
        if options & CONNECTION_KEEP_ALIVE:
            h.keep_alive = 1
        if options & CONNECTION_CLOSE:
            h.keep_alive = 0
        h.connection_names = 1 if options & CONNECTION_NAMES else 0
        h.upgrade = 1 if options & CONNECTION_UPGRADE and h.seen[FIELD_UPGRADE] and h.minor else 0
    if not reusable:
        h.keep_alive = 0
    return 1


cdef int parse_response_head(ResponseHead* h, const char* buf, uint32_t n, const HeadLimits* limits,
                             int method) noexcept nogil:
    cdef FieldScan s
    cdef uint32_t use = n if n <= limits.bytes else limits.bytes
    cdef int r = 1
    if h.state < FIELDS:
        r = status_line(h, <const uint8_t*>buf, <const uint8_t*>buf + use)
    if FL_LIKELY(r > 0):
        s.fields = h.fields
        s.seen = h.seen
        s.repeated = h.repeated
        s.pos = h.pos
        s.start = h.start
        s.limit = limits.count if limits.count < MAX_FIELDS else MAX_FIELDS
        s.nfields = h.nfields
        s.state = <uint8_t>(h.state - FIELDS)
        r = scan_fields(&s, buf, use)
        h.repeated = s.repeated
        h.pos = s.pos
        h.start = s.start
        h.nfields = s.nfields
        h.state = <uint8_t>(s.state + FIELDS)
        if r < 0:
            return refuse(h, s.reason)
        if FL_LIKELY(r > 0):
            if conclude(h, buf, method) < 0:
                return PARSE_ERROR
            h.length = h.pos
            return <int>h.length
    if r == PARSE_MORE and n > use:
        return refuse(h, REASON_HEAD_TOO_LARGE)
    return r
