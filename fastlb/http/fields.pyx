"""Field sections: one pass over the bytes, offsets out. Names are told apart by one hash and one comparison.

Strict where two readers could differ (RFC 9112 section 5): lines end in CRLF and nothing else, no white space before
the colon, no folded lines, no control bytes in values.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fastlb.http.scan cimport (
    FL_LIKELY,
    FL_UNLIKELY,
    FL_COMMON,
    FL_TOKEN,
    fl_is,
    fl_lower,
    fl_run,
    fl_same_name,
    fl_scan_common,
    fl_scan_value,
)

cdef enum:
    NAME_MIN = 2
    NAME_MAX = 23               # X-Forwarded-Client-Cert
    NAME_SLOTS = 128
    CONNECTION_NAMES_MAX = 32   # bounds the work of connection_options to 32 x 256 comparisons

# Removed before forwarding (RFC 9110 section 7.6.1). Proxy-Authenticate and Proxy-Authorization are meant for the next
# proxy only (sections 11.7.1 and 11.7.2), HTTP2-Settings for the next server (RFC 7540 section 3.2.1). Trailer is not
# among them: it describes the trailer section, which is forwarded.
cdef uint32_t HOP_BY_HOP = (
    1u << FIELD_CONNECTION | 1u << FIELD_KEEP_ALIVE | 1u << FIELD_PROXY_CONNECTION | 1u << FIELD_TE
    | 1u << FIELD_TRANSFER_ENCODING | 1u << FIELD_UPGRADE | 1u << FIELD_PROXY_AUTHENTICATE
    | 1u << FIELD_PROXY_AUTHORIZATION | 1u << FIELD_HTTP2_SETTINGS
)

cdef struct Name:
    uint8_t n                   # 0: nothing here
    uint8_t id                  # FieldId
    uint8_t flags               # of every field of that name
    uint8_t text[29]            # 32 bytes a slot: found by a shift

cdef Name names[NAME_SLOTS]     # by hash; free of collisions, or the import fails

_NAMES = {
    FIELD_HOST: b"host",
    FIELD_CONNECTION: b"connection",
    FIELD_CONTENT_LENGTH: b"content-length",
    FIELD_TRANSFER_ENCODING: b"transfer-encoding",
    FIELD_EXPECT: b"expect",
    FIELD_UPGRADE: b"upgrade",
    FIELD_KEEP_ALIVE: b"keep-alive",
    FIELD_PROXY_CONNECTION: b"proxy-connection",
    FIELD_TE: b"te",
    FIELD_TRAILER: b"trailer",
    FIELD_PROXY_AUTHENTICATE: b"proxy-authenticate",
    FIELD_PROXY_AUTHORIZATION: b"proxy-authorization",
    FIELD_X_FORWARDED_FOR: b"x-forwarded-for",
    FIELD_X_FORWARDED_PROTO: b"x-forwarded-proto",
    FIELD_X_FORWARDED_HOST: b"x-forwarded-host",
    FIELD_X_FORWARDED_PORT: b"x-forwarded-port",
    FIELD_FORWARDED: b"forwarded",
    FIELD_X_REQUEST_ID: b"x-request-id",
    FIELD_COOKIE: b"cookie",
    FIELD_SET_COOKIE: b"set-cookie",
    FIELD_USER_AGENT: b"user-agent",
    FIELD_REFERER: b"referer",
    FIELD_ACCEPT: b"accept",
    FIELD_DATE: b"date",
    FIELD_X_FORWARDED_CLIENT_CERT: b"x-forwarded-client-cert",
    FIELD_RETRY_AFTER: b"retry-after",
    FIELD_CONTENT_TYPE: b"content-type",
    FIELD_HTTP2_SETTINGS: b"http2-settings",
    FIELD_AUTHORIZATION: b"authorization",
    FIELD_X_REAL_IP: b"x-real-ip",
    FIELD_TRACEPARENT: b"traceparent",
}

cdef inline uint32_t name_hash(const uint8_t* p, uint32_t n) noexcept nogil:
    # Two bytes tell all the names apart (found by search); 0x20 folds the case.
    return (n + (p[0] | 0x20) * 5u + (p[n * 3 >> 2] | 0x20) * 7u) & (NAME_SLOTS - 1)


cdef int fill_names() except -1:
    cdef bytes text
    cdef uint32_t at
    cdef int i, ident
    cdef Name slot
    if len(_NAMES) != FIELD_IDS - 1 or FIELD_IDS > 32:
        raise ImportError("fastlb.http.fields: every FieldId needs its name")
    for ident, text in _NAMES.items():
        slot.n = <uint8_t>len(text)
        slot.id = <uint8_t>ident
        slot.flags = <uint8_t>(HOP_BY_HOP >> ident & FIELD_HOP)
        for i in range(len(text)):
            slot.text[i] = <uint8_t>text[i]
        at = name_hash(slot.text, slot.n)
        if names[at].n or not NAME_MIN <= len(text) <= NAME_MAX:
            raise ImportError(f"fastlb.http.fields: the hash does not hold {text!r}")
        names[at] = slot
    return 0


fill_names()


# The entry of a name, or NULL.
cdef inline Name* identify(const uint8_t* p, uint32_t n) noexcept nogil:
    cdef Name* slot
    if n - NAME_MIN > NAME_MAX - NAME_MIN:
        return NULL
    slot = &names[name_hash(p, n)]
    return slot if slot.n == n and fl_same_name(p, slot.text, n) else NULL


cdef int field_id(const char* name, size_t n) noexcept nogil:
    cdef Name* known = NULL if n > NAME_MAX else identify(<const uint8_t*>name, <uint32_t>n)
    return FIELD_OTHER if known is NULL else known.id


cdef int field_lookalike(const char* name, size_t n) noexcept nogil:
    cdef uint8_t plain[24]
    cdef uint32_t i
    cdef uint8_t c
    cdef Name* known
    if n > NAME_MAX:
        return FIELD_OTHER
    for i in range(<uint32_t>n):
        c = <uint8_t>name[i]
        plain[i] = c if fl_is(c, FL_COMMON) else 45
    known = identify(plain, <uint32_t>n)
    return FIELD_OTHER if known is NULL else known.id


cdef bint name_equal(const char* a, size_t an, const char* b, size_t bn) noexcept nogil:
    cdef size_t i
    if an != bn:
        return False
    for i in range(an):
        if fl_lower(<uint8_t>a[i]) != fl_lower(<uint8_t>b[i]):
            return False
    return True


cdef inline bint is_space(uint8_t c) noexcept nogil:
    return c == 32 or c == 9


cdef inline int suspend(FieldScan* s, const uint8_t* base, const uint8_t* p, uint32_t nfields,
                        int state) noexcept nogil:
    s.pos = <uint32_t>(p - base)
    s.nfields = <uint16_t>nfields
    s.state = <uint8_t>state
    return PARSE_MORE


cdef inline int refuse(FieldScan* s, const uint8_t* base, const uint8_t* p, uint32_t nfields,
                       int reason) noexcept nogil:
    s.pos = <uint32_t>(p - base)
    s.nfields = <uint16_t>nfields
    s.reason = <uint8_t>reason
    return PARSE_ERROR


cdef int name_fault(uint8_t c) noexcept nogil:
    # What a byte that is neither tchar nor ':' says about the line (RFC 9112 sections 5 and 5.1).
    if c == 32 or c == 9 or c == 13:
        return REASON_FIELD_LINE
    return REASON_BARE_LF if c == 10 else REASON_FIELD_NAME


# A field line that does not begin with a tchar: 1 at the end of the section, else as scan_fields.
cdef int line_start(FieldScan* s, const uint8_t* base, const uint8_t* p, const uint8_t* end,
                    uint32_t count) noexcept nogil:
    if p[0] == 13:
        if p + 1 == end:
            return suspend(s, base, p, count, FIELDS_LINE)
        if p[1] != 10:
            return refuse(s, base, p, count, REASON_BARE_CR)
        s.pos = <uint32_t>(p - base) + 2
        s.nfields = <uint16_t>count
        return 1
    if is_space(p[0]):
        return refuse(s, base, p, count, REASON_OBS_FOLD if count else REASON_FIELD_LINE)
    return refuse(s, base, p, count, name_fault(p[0]))


cdef int scan_fields(FieldScan* s, const char* buf, uint32_t n) noexcept nogil:
    cdef const uint8_t* base = <const uint8_t*>buf
    cdef const uint8_t* end = base + n
    cdef const uint8_t* p = base + s.pos
    cdef const uint8_t* name
    cdef const uint8_t* value
    cdef const uint8_t* q
    cdef Name* known
    cdef uint32_t count = s.nfields, limit = s.limit, name_len, ident = FIELD_OTHER
    cdef Field* f = s.fields + count
    cdef int state = s.state
    cdef bint odd
    name = value = p
    if FL_UNLIKELY(state != FIELDS_LINE):
        name = base + f.name
        if state != FIELDS_NAME:
            ident = f.id
        if state == FIELDS_VALUE:
            value = base + f.value
    while True:
        if state == FIELDS_LINE:
            if FL_UNLIKELY(p == end):
                return suspend(s, base, p, count, FIELDS_LINE)
            if FL_UNLIKELY(p[0] <= 32):
                return line_start(s, base, p, end, count)
            if FL_UNLIKELY(count >= limit):
                return refuse(s, base, p, count, REASON_TOO_MANY_FIELDS)
            name = p
            f.name = <uint32_t>(p - base)
            state = FIELDS_NAME
        if state == FIELDS_NAME:
            q = fl_scan_common(p, end, base)
            odd = p != name                     # a resumed name: what was read before is not known any more
            if FL_UNLIKELY(q == end or q[0] != 58):
                odd = True
                q = fl_run(q, end, FL_TOKEN)
                if q == end:
                    return suspend(s, base, q, count, FIELDS_NAME)
                if q[0] != 58:
                    return refuse(s, base, q, count, name_fault(q[0]))
            name_len = <uint32_t>(q - name)
            if FL_UNLIKELY(name_len - 1 > 0xfffe):
                return refuse(s, base, q, count, REASON_FIELD_NAME)
            f.name_len = <uint16_t>name_len
            known = identify(name, name_len)
            ident = FIELD_OTHER
            if known is not NULL:
                ident = known.id
                f.id = known.id
                f.flags = known.flags
            else:
                f.id = FIELD_OTHER
                f.flags = FIELD_HOP if FL_UNLIKELY(odd) and field_lookalike(<const char*>name, name_len) else 0
            p = q + 1
            state = FIELDS_SPACE
        if state == FIELDS_SPACE:
            # nearly always exactly one space
            if FL_LIKELY(end - p >= 2 and p[0] == 32):
                p += 1
            if FL_UNLIKELY(p == end or p[0] <= 32):
                while p < end and is_space(p[0]):
                    p += 1
                if p == end:
                    return suspend(s, base, p, count, FIELDS_SPACE)
            value = p
            f.value = <uint32_t>(p - base)
            state = FIELDS_VALUE
        # FIELDS_VALUE
        p = fl_scan_value(p, end, base)
        if FL_UNLIKELY(end - p < 2):
            if p == end or p[0] == 13:
                return suspend(s, base, p, count, FIELDS_VALUE)
        if FL_UNLIKELY(p[0] != 13):
            return refuse(s, base, p, count, REASON_BARE_LF if p[0] == 10 else REASON_FIELD_VALUE)
        if FL_UNLIKELY(p[1] != 10):
            return refuse(s, base, p, count, REASON_BARE_CR)
        q = p
        if FL_UNLIKELY((q - 1)[0] <= 32):
            while q > value and is_space((q - 1)[0]):
                q -= 1
        f.value_len = <uint32_t>(q - value)
        p += 2
        count += 1
        if ident:
            if FL_UNLIKELY(s.seen[ident]):
                s.repeated |= 1u << ident
            else:
                s.seen[ident] = <uint16_t>count
        f += 1
        state = FIELDS_LINE


cdef int connection_options(Field* fields, uint32_t nfields, const uint16_t* seen, bint repeated,
                            const char* buf) noexcept nogil:
    cdef uint32_t i, k, named = 0
    cdef int options = 0
    cdef const uint8_t* p
    cdef const uint8_t* q
    cdef const uint8_t* end
    cdef size_t n
    if not seen[FIELD_CONNECTION]:
        return 0
    if not repeated:
        # what nearly all of them say
        i = <uint32_t>seen[FIELD_CONNECTION] - 1
        p = <const uint8_t*>buf + fields[i].value
        if fields[i].value_len == 10 and fl_same_name(p, <const uint8_t*>b"keep-alive", 10):
            return CONNECTION_KEEP_ALIVE
        if fields[i].value_len == 5 and fl_same_name(p, <const uint8_t*>b"close", 5):
            return CONNECTION_CLOSE
    for i in range(<uint32_t>seen[FIELD_CONNECTION] - 1, nfields):
        if fields[i].id != FIELD_CONNECTION:
            continue
        p = <const uint8_t*>buf + fields[i].value
        end = p + fields[i].value_len
        while p < end:
            if p[0] == 44 or is_space(p[0]):
                p += 1
                continue
            q = p
            while q < end and q[0] != 44:
                q += 1
            n = <size_t>(q - p)
            while is_space(p[n - 1]):
                n -= 1
            if n == 5 and fl_same_name(p, <const uint8_t*>b"close", 5):
                options |= CONNECTION_CLOSE
            elif n == 10 and fl_same_name(p, <const uint8_t*>b"keep-alive", 10):
                options |= CONNECTION_KEEP_ALIVE
            elif n == 7 and fl_same_name(p, <const uint8_t*>b"upgrade", 7):
                options |= CONNECTION_UPGRADE
            else:
                named += 1
                if named > CONNECTION_NAMES_MAX:
                    return -1
                # A name that fastlb knows is either hop-by-hop already or a field that a client must not be able to
                # take out of the request: framing, routing, credentials, and who the client is (RFC 9110 section
                # 7.6.1 forbids to list fields meant for all recipients).
                if field_id(<const char*>p, n) == FIELD_OTHER:
                    options |= CONNECTION_NAMES
                    for k in range(nfields):
                        if fields[k].name_len == n and name_equal(buf + fields[k].name, n, <const char*>p, n):
                            fields[k].flags |= FIELD_HOP
            p = q
        if not repeated:
            break
    return options


cdef const char* REASONS[REASON_COUNT]
REASONS[:] = [
    b"none",
    b"invalid method",
    b"invalid request target",
    b"unsupported protocol version",
    b"malformed request line",
    b"malformed status line",
    b"request target too long",
    b"head too large",
    b"too many fields",
    b"invalid field name",
    b"invalid byte in a field value",
    b"malformed field line",
    b"folded field line",
    b"line ends in LF without CR",
    b"CR without LF",
    b"invalid or repeated Content-Length",
    b"Content-Length together with Transfer-Encoding",
    b"invalid Transfer-Encoding",
    b"Host is missing",
    b"invalid or repeated Host",
    b"invalid chunk size",
    b"invalid chunk extension",
    b"chunk does not end in CRLF",
    b"invalid trailer section",
    b"invalid upgrade",
    b"Connection lists too many names",
    b"unknown transfer coding",
]


cdef const char* reason_text(int reason) noexcept nogil:
    return REASONS[reason if 0 <= reason < REASON_COUNT else 0]
