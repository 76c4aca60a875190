"""Request head parser: request line, fields, and what they say together (RFC 9112 sections 2, 3, 5 and 6).

One pass, offsets out. The scan may stop at any byte and goes on there with the next call; what it has found so far is
in the struct. A verdict never depends on how the bytes were cut into reads: limits are applied to the bytes of the
head alone, and facts about the whole head (Host, framing) are judged once its last byte is there.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from fastlb.http.authority cimport split_authority
from fastlb.http.fields cimport (
    CONNECTION_CLOSE,
    CONNECTION_KEEP_ALIVE,
    CONNECTION_NAMES,
    CONNECTION_UPGRADE,
    FIELD_CONNECTION,
    FIELD_EXPECT,
    FIELD_HOST,
    FIELD_UPGRADE,
    FieldScan,
    PARSE_ERROR,
    PARSE_MORE,
    REASON_BARE_CR,
    REASON_BARE_LF,
    REASON_CONNECTION,
    REASON_HEAD_TOO_LARGE,
    REASON_HOST,
    REASON_METHOD,
    REASON_NO_HOST,
    REASON_REQUEST_LINE,
    REASON_TARGET,
    REASON_TOO_MANY_FIELDS,
    REASON_URI_TOO_LONG,
    REASON_VERSION,
    connection_options,
    scan_fields,
)
from fastlb.http.framing cimport FramingFacts, request_framing
from fastlb.http.scan cimport (
    FL_DIGIT,
    FL_LIKELY,
    FL_TOKEN,
    FL_UNLIKELY,
    fl_is,
    fl_load4,
    fl_load8,
    fl_run,
    fl_same_name,
    fl_scan_target,
)

cdef enum:
    # Empty lines before a request line are tolerated for clients that send one after a body (RFC 9112 section 2.2),
    # not without end.
    EMPTY_LINES_MAX = 4

cdef enum State:
    START = 0
    METHOD
    TARGET
    VERSION
    FIELDS

cdef uint32_t GET4, PUT4, POST4, HEAD4
cdef uint64_t HTTP10, HTTP11
GET4 = fl_load4(<const uint8_t*>b"GET ")
PUT4 = fl_load4(<const uint8_t*>b"PUT ")
POST4 = fl_load4(<const uint8_t*>b"POST")
HEAD4 = fl_load4(<const uint8_t*>b"HEAD")
HTTP10 = fl_load8(<const uint8_t*>b"HTTP/1.0")
HTTP11 = fl_load8(<const uint8_t*>b"HTTP/1.1")


cdef void request_head_reset(RequestHead* h) noexcept nogil:
    # Not the fields: 4 KB that nfields says nothing about.
    memset(h, 0, <size_t>(<char*>&h.fields - <char*>h))


cdef size_t request_head_size(const RequestHead* h) noexcept nogil:
    # One field more than nfields: the line that is half read.
    cdef size_t count = <size_t>h.nfields + 1
    if count > MAX_FIELDS:
        count = MAX_FIELDS
    return <size_t>(<const char*>&h.fields - <const char*>h) + count * sizeof(Field)


cdef bint method_idempotent(int method) noexcept nogil:
    return (method == METHOD_GET or method == METHOD_HEAD or method == METHOD_PUT or method == METHOD_DELETE
            or method == METHOD_OPTIONS or method == METHOD_TRACE)


cdef int refuse(RequestHead* h, int reason, int status) noexcept nogil:
    h.reason = <uint8_t>reason
    h.status = <uint16_t>status
    return PARSE_ERROR


cdef int method_of(const uint8_t* p, uint32_t n) noexcept nogil:
    # Methods are case-sensitive (RFC 9110 section 9.1).
    if n == 3:
        if memcmp(p, b"GET", 3) == 0:
            return METHOD_GET
        if memcmp(p, b"PUT", 3) == 0:
            return METHOD_PUT
    elif n == 4:
        if memcmp(p, b"POST", 4) == 0:
            return METHOD_POST
        if memcmp(p, b"HEAD", 4) == 0:
            return METHOD_HEAD
    elif n == 5:
        if memcmp(p, b"PATCH", 5) == 0:
            return METHOD_PATCH
        if memcmp(p, b"TRACE", 5) == 0:
            return METHOD_TRACE
    elif n == 6:
        if memcmp(p, b"DELETE", 6) == 0:
            return METHOD_DELETE
    elif n == 7:
        if memcmp(p, b"OPTIONS", 7) == 0:
            return METHOD_OPTIONS
        if memcmp(p, b"CONNECT", 7) == 0:
            return METHOD_CONNECT
    return METHOD_OTHER


# Offset of "://" when the target begins with a scheme of letters, else 0. Other schemes than http and https exist in
# the wild (ws); what decides is the authority.
cdef uint32_t scheme_length(const uint8_t* p, uint32_t n) noexcept nogil:
    cdef uint32_t i = 0
    while i < n and <uint8_t>((p[i] | 0x20) - 97) < 26:
        i += 1
    return i if i and n - i >= 3 and p[i] == 58 and p[i + 1] == 47 and p[i + 2] == 47 else 0


# Takes the authority apart for `host`, `authority` and `port`.
cdef bint take_authority(RequestHead* h, const uint8_t* base, uint32_t off, uint32_t n) noexcept nogil:
    h.authority.off = h.host.off = off
    h.authority.len = n
    return split_authority(<const char*>base, <const char*>base + off, n, &h.host.len, &h.port)


# Any form of target but origin-form, once its bytes are known to be visible ASCII (RFC 9112 section 3.2).
cdef int other_form(RequestHead* h, const uint8_t* base) noexcept nogil:
    cdef const uint8_t* p = base + h.target.off
    cdef uint32_t n = h.target.len, i, start, path_end
    if h.method == METHOD_CONNECT:
        # authority-form, where the port is not optional
        h.form = TARGET_AUTHORITY
        if not take_authority(h, base, h.target.off, n) or h.host.len == 0 or not fl_is(p[n - 1], FL_DIGIT) \
                or h.host.len == n:
            return refuse(h, REASON_TARGET, 400)
        h.query.off = h.query.len = 0
        return 1
    if p[0] == 42:
        if n != 1 or h.method != METHOD_OPTIONS:
            return refuse(h, REASON_TARGET, 400)
        h.form = TARGET_ASTERISK
        h.path = h.target
        return 1
    start = scheme_length(p, n)
    if start == 0:
        return refuse(h, REASON_TARGET, 400)
    start += 3
    i = start
    path_end = h.query.off - 1 - h.target.off if h.query.off else n
    while i < path_end and p[i] != 47:
        i += 1
    h.form = TARGET_ABSOLUTE
    if not take_authority(h, base, h.target.off + start, i - start) or h.host.len == 0:
        return refuse(h, REASON_TARGET, 400)
    h.path.off = h.target.off + i
    h.path.len = path_end - i
    return 1


# HTTP/1.x CRLF at p: 1, PARSE_MORE, or PARSE_ERROR. Cut short it is read again from its first byte: ten bytes at most.
cdef int read_version(RequestHead* h, const uint8_t* p, const uint8_t* end) noexcept nogil:
    cdef uint32_t i, n = <uint32_t>(end - p)
    cdef uint8_t c
    if FL_LIKELY(n >= 10 and fl_load8(p) == HTTP11 and p[8] == 13 and p[9] == 10):
        h.minor = 1
        return 1
    for i in range(n if n < 8 else 8):
        c = p[i]
        if i == 5 or i == 7:
            if not fl_is(c, FL_DIGIT):
                return refuse(h, REASON_BARE_LF if c == 10 else REASON_VERSION, 400)
        elif c != <uint8_t>(<const char*>b"HTTP/1.")[i]:
            return refuse(h, REASON_BARE_LF if c == 10 else REASON_REQUEST_LINE if c == 32 else REASON_VERSION, 400)
    if n < 9:
        return PARSE_MORE
    if p[8] != 13:
        if p[8] == 10:
            return refuse(h, REASON_BARE_LF, 400)
        return refuse(h, REASON_VERSION if fl_is(p[8], FL_DIGIT) or p[8] == 46 else REASON_REQUEST_LINE, 400)
    if n < 10:
        return PARSE_MORE
    if p[9] != 10:
        return refuse(h, REASON_BARE_CR, 400)
    # A well-formed version that is neither HTTP/1.0 nor HTTP/1.1. Nobody speaks HTTP/1.2, and what it would mean to the
    # next parser is not known.
    if p[5] != 49 or p[7] > 49:
        return refuse(h, REASON_VERSION, 505)
    h.minor = <uint8_t>(p[7] - 48)
    return 1


# The request line, leading empty lines included: 1, PARSE_MORE or PARSE_ERROR.
cdef int request_line(RequestHead* h, const uint8_t* base, const uint8_t* end, uint32_t uri) noexcept nogil:
    cdef const uint8_t* p = base + h.pos
    cdef uint32_t n
    cdef int r
    if h.state == START:
        while p < end and (p[0] == 13 or p[0] == 10):
            if p[0] == 10:
                return refuse(h, REASON_BARE_LF, 400)
            if p + 1 == end:
                h.pos = <uint32_t>(p - base)
                return PARSE_MORE
            if p[1] != 10:
                return refuse(h, REASON_BARE_CR, 400)
            p += 2
            if p - base > 2 * EMPTY_LINES_MAX:
                return refuse(h, REASON_REQUEST_LINE, 400)
        h.pos = h.start = h.verb.off = <uint32_t>(p - base)
        if FL_UNLIKELY(p == end):
            return PARSE_MORE
        h.state = METHOD
    if h.state == METHOD:
        if FL_LIKELY(end - p >= 5 and p == base + h.start):
            if fl_load4(p) == GET4:
                h.method = METHOD_GET
                h.verb.len = 3
            elif fl_load4(p) == PUT4:
                h.method = METHOD_PUT
                h.verb.len = 3
            elif p[4] == 32:
                if fl_load4(p) == POST4:
                    h.method = METHOD_POST
                    h.verb.len = 4
                elif fl_load4(p) == HEAD4:
                    h.method = METHOD_HEAD
                    h.verb.len = 4
        if FL_UNLIKELY(h.verb.len == 0):
            p = fl_run(p, end, FL_TOKEN)
            h.pos = <uint32_t>(p - base)
            if p == end:
                return PARSE_MORE
            n = h.pos - h.start
            if p[0] != 32:
                return refuse(h, REASON_BARE_LF if p[0] == 10 else REASON_REQUEST_LINE if p[0] == 13 else REASON_METHOD,
                              400)
            if n == 0:
                return refuse(h, REASON_REQUEST_LINE, 400)
            h.verb.len = n
            h.method = <uint8_t>method_of(base + h.start, n)
        p = base + h.start + h.verb.len + 1
        h.target.off = <uint32_t>(p - base)
        h.state = TARGET
    if h.state == TARGET:
        while True:
            p = fl_scan_target(p, end, base)
            n = <uint32_t>(p - base)
            if FL_UNLIKELY(n - h.target.off > uri):
                return refuse(h, REASON_URI_TOO_LONG, 414)
            if p == end:
                h.pos = n
                return PARSE_MORE
            if FL_LIKELY(p[0] == 32):
                break
            if p[0] != 63:
                return refuse(h, REASON_BARE_LF if p[0] == 10 else REASON_REQUEST_LINE if p[0] == 13 else REASON_TARGET,
                              400)
            p += 1
            if h.query.off == 0:
                h.query.off = <uint32_t>(p - base)
        h.target.len = n - h.target.off
        if FL_UNLIKELY(h.target.len == 0):
            return refuse(h, REASON_REQUEST_LINE, 400)
        if h.query.off:
            h.query.len = n - h.query.off
        p += 1
        h.pos = n + 1
        h.state = VERSION
    r = read_version(h, p, end)
    if FL_UNLIKELY(r <= 0):
        return r
    h.pos += 10
    h.line.off = h.start
    h.line.len = h.pos - 2 - h.start
    h.start = h.pos
    if FL_LIKELY(base[h.target.off] == 47 and h.method != METHOD_CONNECT):
        h.path.off = h.target.off
        h.path.len = h.query.off - 1 - h.target.off if h.query.off else h.target.len
    elif other_form(h, base) < 0:
        return PARSE_ERROR
    h.state = FIELDS
    return 1


# What the fields say together, once the last byte of the head is there.
cdef int conclude(RequestHead* h, const char* buf) noexcept nogil:
    cdef Field* f
    cdef int options
    cdef FramingFacts facts
    cdef uint32_t host = h.seen[FIELD_HOST], len_, port
    # Host (RFC 9112 section 3.2): exactly one in HTTP/1.1, and valid even where the target's authority overrides it.
    if FL_LIKELY(host):
        f = h.fields + host - 1
        if FL_UNLIKELY(h.repeated >> FIELD_HOST & 1):
            return refuse(h, REASON_HOST, 400)
        if FL_LIKELY(h.form == TARGET_ORIGIN or h.form == TARGET_ASTERISK):
            if not take_authority(h, <const uint8_t*>buf, f.value, f.value_len):
                return refuse(h, REASON_HOST, 400)
        elif not split_authority(buf, buf + f.value, f.value_len, &len_, &port):
            return refuse(h, REASON_HOST, 400)
        if FL_UNLIKELY(h.host.len == 0 and h.authority.len):
            return refuse(h, REASON_HOST, 400)          # a port without a host
    elif h.minor == 1:
        return refuse(h, REASON_NO_HOST, 400)
    facts.fields = h.fields
    facts.seen = h.seen
    facts.repeated = h.repeated
    facts.minor = h.minor
    if FL_UNLIKELY(request_framing(&facts, buf) < 0):
        return refuse(h, facts.reason, facts.status)
    h.framing = facts.framing
    h.content_length = facts.content_length
    # Persistence (RFC 9112 section 9.3)
    h.keep_alive = h.minor
    if h.seen[FIELD_CONNECTION]:
        options = connection_options(h.fields, h.nfields, h.seen, h.repeated >> FIELD_CONNECTION & 1, buf)
        if options < 0:
            return refuse(h, REASON_CONNECTION, 400)
        if options & CONNECTION_KEEP_ALIVE:
            h.keep_alive = 1
        if options & CONNECTION_CLOSE:
            h.keep_alive = 0
        h.connection_names = 1 if options & CONNECTION_NAMES else 0
        # Upgrade and Expect mean nothing in HTTP/1.0 (RFC 9110 sections 7.8 and 10.1.1).
        h.upgrade = 1 if options & CONNECTION_UPGRADE and h.seen[FIELD_UPGRADE] and h.minor else 0
    if FL_UNLIKELY(h.seen[FIELD_EXPECT]) and h.minor:
        f = h.fields + h.seen[FIELD_EXPECT] - 1
        h.expect_continue = f.value_len == 12 and fl_same_name(
            <const uint8_t*>buf + f.value, <const uint8_t*>b"100-continue", 12)
    return 1


cdef int parse_request_head(RequestHead* h, const char* buf, uint32_t n, const HeadLimits* limits) noexcept nogil:
    cdef FieldScan s
    cdef uint32_t use = n if n <= limits.bytes else limits.bytes
    cdef int r = 1
    if h.state < FIELDS:
        r = request_line(h, <const uint8_t*>buf, <const uint8_t*>buf + use, limits.uri)
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
            return refuse(h, s.reason, 431 if s.reason == REASON_TOO_MANY_FIELDS else 400)
        if FL_LIKELY(r > 0):
            if conclude(h, buf) < 0:
                return PARSE_ERROR
            h.length = h.pos
            return <int>h.length
    if r == PARSE_MORE and n > use:
        if h.state == TARGET:
            return refuse(h, REASON_URI_TOO_LONG, 414)
        return refuse(h, REASON_HEAD_TOO_LARGE, 431)
    return r
