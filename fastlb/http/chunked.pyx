"""Chunked transfer coding, strict (RFC 9112 section 7.1).

Lines end in CRLF and nothing else; a size is 1 to 16 hexadecimal digits and at most 2^62; extensions follow the grammar
with its quoted strings. A bounded line is not enough against extensions: a peer could send 4 KB of them with each byte
of body for ever, and have every hop read a thousand times what arrives. So they are charged to the body: extension
bytes add to `excess`, body bytes take from it, and beyond 16 KB the message is refused.

Trailers are forwarded, and a recipient may merge them into the header section (RFC 9110 section 6.5.1 leaves that to
it). Those that would then decide about framing, routing, credentials or the identity of the client are refused, not
dropped: the bytes pass through as they are.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from fastlb.http.fields cimport (
    FIELD_ACCEPT,
    FIELD_CONTENT_TYPE,
    FIELD_DATE,
    FIELD_OTHER,
    FIELD_REFERER,
    FIELD_RETRY_AFTER,
    FIELD_TRACEPARENT,
    FIELD_USER_AGENT,
    REASON_BARE_CR,
    REASON_BARE_LF,
    REASON_CHUNK_END,
    REASON_CHUNK_EXTENSION,
    REASON_CHUNK_SIZE,
    REASON_TRAILER,
    field_lookalike,
)
from fastlb.http.scan cimport (
    FL_LENGTH_MAX,
    FL_LIKELY,
    FL_QDTEXT,
    FL_TOKEN,
    FL_UNLIKELY,
    FL_VALUE,
    fl_hex,
    fl_is,
    fl_scan_value,
)

cdef enum State:
    SIZE = 0
    DATA                    # `left` bytes of body follow
    DATA_CR
    DATA_LF
    SIZE_LF
    EXT                     # after white space: only ';' may follow
    EXT_NAME_FIRST          # after ';' and white space
    EXT_NAME
    EXT_NAME_END            # white space after a name: '=' or ';'
    EXT_VALUE_FIRST
    EXT_VALUE
    EXT_QUOTED
    EXT_ESCAPED
    EXT_VALUE_END           # after the closing quote
    TRAILER                 # first byte of a trailer line, or of the last CRLF
    TRAILER_NAME
    TRAILER_VALUE
    TRAILER_LF
    LAST_LF
    DONE
    FAILED

cdef enum:
    NAME_KEPT = 24

# Known names that may stand in a trailer section.
cdef uint32_t TRAILERS_ALLOWED = (
    1u << FIELD_OTHER | 1u << FIELD_ACCEPT | 1u << FIELD_CONTENT_TYPE | 1u << FIELD_DATE | 1u << FIELD_REFERER
    | 1u << FIELD_RETRY_AFTER | 1u << FIELD_TRACEPARENT | 1u << FIELD_USER_AGENT
)


cdef void chunked_reset(Chunked* c) noexcept nogil:
    memset(c, 0, <size_t>(<char*>&c.name - <char*>c))


cdef int fault(Chunked* c, int reason) noexcept nogil:
    c.reason = <uint8_t>reason
    c.state = FAILED
    return CHUNK_ERROR


cdef inline bint space(uint8_t b) noexcept nogil:
    return b == 32 or b == 9


# One byte of a size line after the size. 0, or CHUNK_ERROR.
cdef int extension(Chunked* c, uint8_t b) noexcept nogil:
    cdef int state = c.state
    c.line += 1
    if c.line > CHUNK_LINE_MAX:
        return fault(c, REASON_CHUNK_EXTENSION)
    if state == EXT_QUOTED:
        if b == 34:
            c.state = EXT_VALUE_END
        elif b == 92:
            c.state = EXT_ESCAPED
        elif not fl_is(b, FL_QDTEXT):
            return fault(c, REASON_CHUNK_EXTENSION)
        return 0
    if state == EXT_ESCAPED:
        c.state = EXT_QUOTED
        return 0 if fl_is(b, FL_VALUE) else fault(c, REASON_CHUNK_EXTENSION)
    if fl_is(b, FL_TOKEN):
        if state == EXT_NAME_FIRST:
            c.state = EXT_NAME
        elif state == EXT_VALUE_FIRST:
            c.state = EXT_VALUE
        elif state != EXT_NAME and state != EXT_VALUE:
            return fault(c, REASON_CHUNK_EXTENSION)
        return 0
    if space(b):
        if state == SIZE:
            c.state = EXT
        elif state == EXT_NAME:
            c.state = EXT_NAME_END
        elif state == EXT_VALUE or state == EXT_VALUE_END:
            c.state = EXT
        return 0
    if b == 59 and (state == SIZE or state == EXT or state == EXT_NAME or state == EXT_NAME_END or state == EXT_VALUE
                    or state == EXT_VALUE_END):
        c.state = EXT_NAME_FIRST
        return 0
    if b == 61 and (state == EXT_NAME or state == EXT_NAME_END):
        c.state = EXT_VALUE_FIRST
        return 0
    if b == 34 and state == EXT_VALUE_FIRST:
        c.state = EXT_QUOTED
        return 0
    if b == 13 and (state == SIZE or state == EXT_NAME or state == EXT_VALUE or state == EXT_VALUE_END):
        c.state = SIZE_LF
        return 0
    return fault(c, REASON_BARE_LF if b == 10 else REASON_CHUNK_EXTENSION)


# The size line is complete: settle the account of extensions.
cdef int size_done(Chunked* c) noexcept nogil:
    cdef uint64_t excess = <uint64_t>c.excess + c.line - c.digits - 1
    if excess > c.left:
        excess -= c.left
    else:
        excess = 0
    if excess > CHUNK_EXCESS_MAX:
        return fault(c, REASON_CHUNK_EXTENSION)
    c.excess = <uint32_t>excess
    c.line = 0
    c.digits = 0
    c.state = DATA if c.left else TRAILER
    return 0


# A trailer name is complete; `digits` holds its length, no more than NAME_KEPT.
cdef int trailer_name(Chunked* c) noexcept nogil:
    if c.digits == 0 or not TRAILERS_ALLOWED >> field_lookalike(c.name, c.digits) & 1:
        return fault(c, REASON_TRAILER)
    c.digits = 0
    c.state = TRAILER_VALUE
    return 0


# Everything but body bytes: CHUNK_DATA when `left` bytes of body begin at at[0], CHUNK_MORE at the end of the input,
# CHUNK_END or CHUNK_ERROR. at[0] is moved past what was used, on CHUNK_ERROR to the byte at fault.
cdef int advance(Chunked* c, const uint8_t** at, const uint8_t* end) noexcept nogil:
    cdef const uint8_t* p = at[0]
    cdef const uint8_t* begin = p
    cdef const uint8_t* q
    cdef uint8_t b
    cdef int digit
    cdef int state
    while p < end:
        b = p[0]
        state = c.state
        if state == SIZE:
            digit = fl_hex(b)
            if digit >= 0:
                if c.digits == CHUNK_DIGITS_MAX:
                    fault(c, REASON_CHUNK_SIZE)
                    break
                c.digits += 1
                c.line += 1
                c.left = c.left << 4 | <uint64_t>digit
            elif c.digits == 0 or c.left > FL_LENGTH_MAX:
                fault(c, REASON_CHUNK_SIZE)
                break
            elif FL_LIKELY(b == 13):
                c.line += 1
                c.state = SIZE_LF
            elif b != 59 and not space(b):
                fault(c, REASON_BARE_LF if b == 10 else REASON_CHUNK_SIZE)
                break
            elif extension(c, b) < 0:
                break
        elif state == DATA:
            at[0] = p
            return CHUNK_DATA
        elif state == DATA_CR:
            if b != 13:
                fault(c, REASON_CHUNK_END)
                break
            c.state = DATA_LF
        elif state == DATA_LF:
            if b != 10:
                fault(c, REASON_CHUNK_END)
                break
            c.state = SIZE
        elif state == SIZE_LF:
            if b != 10:
                fault(c, REASON_BARE_CR)
                break
            if size_done(c) < 0:
                break
        elif state <= EXT_VALUE_END:
            if extension(c, b) < 0:
                break
        elif state == TRAILER:
            if b == 13:
                c.state = LAST_LF
            elif fl_is(b, FL_TOKEN):
                c.state = TRAILER_NAME
                continue
            else:
                fault(c, REASON_BARE_LF if b == 10 else REASON_TRAILER)
                break
        elif state == TRAILER_NAME:
            if b == 58:
                if trailer_name(c) < 0:
                    break
            elif not fl_is(b, FL_TOKEN):
                fault(c, REASON_BARE_LF if b == 10 else REASON_TRAILER)
                break
            elif c.digits < NAME_KEPT:
                c.name[c.digits] = <char>b
                c.digits += 1
            c.trailers += 1
        elif state == TRAILER_VALUE:
            q = fl_scan_value(p, end, begin)
            if FL_UNLIKELY(<size_t>(q - p) > TRAILERS_MAX):
                fault(c, REASON_TRAILER)
                break
            c.trailers += <uint16_t>(q - p)
            p = q
            if p < end:
                if p[0] != 13:
                    fault(c, REASON_BARE_LF if p[0] == 10 else REASON_TRAILER)
                    break
                c.state = TRAILER_LF
                p += 1
            if c.trailers > TRAILERS_MAX:
                fault(c, REASON_TRAILER)
                break
            continue
        elif state == TRAILER_LF:
            if b != 10:
                fault(c, REASON_BARE_CR)
                break
            c.trailers += 2
            c.state = TRAILER
        elif state == LAST_LF:
            if b != 10:
                fault(c, REASON_BARE_CR)
                break
            c.state = DONE
            at[0] = p + 1
            return CHUNK_END
        else:
            break
        if FL_UNLIKELY(c.trailers > TRAILERS_MAX):
            fault(c, REASON_TRAILER)
            break
        p += 1
    at[0] = p
    if c.state == FAILED:
        return CHUNK_ERROR
    return CHUNK_END if c.state == DONE else CHUNK_MORE


cdef int chunked_next(Chunked* c, const char* buf, size_t n, size_t* consumed,
                      const char** data, size_t* data_len) noexcept nogil:
    cdef const uint8_t* begin = <const uint8_t*>buf
    cdef const uint8_t* p = begin
    cdef size_t run
    cdef int r = advance(c, &p, begin + n)
    data[0] = <const char*>p
    data_len[0] = 0
    if r == CHUNK_DATA:
        run = <size_t>(begin + n - p)
        if run > c.left:
            run = <size_t>c.left
        data_len[0] = run
        c.left -= run
        c.total += run
        if c.left == 0:
            c.state = DATA_CR
        p += run
    consumed[0] = <size_t>(p - begin)
    return r


cdef int chunked_scan(Chunked* c, const char* buf, size_t n, size_t* consumed) noexcept nogil:
    cdef const uint8_t* begin = <const uint8_t*>buf
    cdef const uint8_t* end = begin + n
    cdef const uint8_t* p = begin
    cdef size_t run
    cdef int r
    while True:
        r = advance(c, &p, end)
        if r != CHUNK_DATA:
            consumed[0] = <size_t>(p - begin)
            return r
        run = <size_t>(end - p)
        if run > c.left:
            run = <size_t>c.left
        c.left -= run
        c.total += run
        if c.left == 0:
            c.state = DATA_CR
        p += run
