"""What log lines are made of: dates, cached by the second, and texts with their escapes.

Everything writes forward from a pointer and returns the new end; the caller has made room. Sources: RFC 8259
section 7 (JSON strings), Unicode table 3-7 (well-formed UTF-8), HAProxy configuration manual 8.6 (non-printable
characters), nginx ngx_http_log_module (escapes), RFC 3164 section 4.1.2 (date).
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.time cimport time_t

cdef extern from "<time.h>" nogil:
    struct tm:
        int tm_sec
        int tm_min
        int tm_hour
        int tm_mday
        int tm_mon
        int tm_year
        long tm_gmtoff
    tm* localtime_r(const time_t* t, tm* out)
    tm* gmtime_r(const time_t* t, tm* out)
    void tzset()

cdef enum:
    PLAIN = 0
    ESCAPE = 1
    UTF8 = 0x80

cdef const char* HEX_UPPER = b"0123456789ABCDEF"
cdef const char* HEX_LOWER = b"0123456789abcdef"
cdef const char* MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"
cdef uint8_t _json[256]         # PLAIN, c'u' = \u00XX, UTF8 = a sequence, else the letter after the backslash
cdef uint8_t _name[256]         # ESCAPE: what would tear a name out of its field


cdef void _fill_tables() noexcept:
    cdef int i
    for i in range(256):
        _json[i] = c'u' if i < 0x20 or i == 0x7F else (UTF8 if i > 0x7F else PLAIN)
        _name[i] = ESCAPE if i <= 0x20 or i >= 0x7F or i == c'"' or i == c'#' else PLAIN
    _json[c'"'] = c'"'
    _json[c'\\'] = c'\\'
    _json[8] = c'b'
    _json[9] = c't'
    _json[10] = c'n'
    _json[12] = c'f'
    _json[13] = c'r'


_fill_tables()


# ---- dates -------------------------------------------------------------------------------------------------

cdef void _spell(DateSlot* d, int64_t second) noexcept nogil:
    """Write one second in all spellings. A year outside 1970-9999 is no date; the second is clamped by the caller."""
    cdef tm t
    cdef time_t clock = <time_t>second
    cdef char* p
    cdef uint32_t zone
    gmtime_r(&clock, &t)
    p = d.iso
    p = two(p, (t.tm_year + 1900) // 100)
    p = two(p, (t.tm_year + 1900) % 100)
    p[0] = c'-'
    p = two(p + 1, t.tm_mon + 1)
    p[0] = c'-'
    p = two(p + 1, t.tm_mday)
    p[0] = c'T'
    p = two(p + 1, t.tm_hour)
    p[0] = c':'
    p = two(p + 1, t.tm_min)
    p[0] = c':'
    two(p + 1, t.tm_sec)

    localtime_r(&clock, &t)
    p = d.local
    p = two(p, t.tm_mday)
    p[0] = c'/'
    memcpy(p + 1, &MONTHS[3 * t.tm_mon], 3)
    p[4] = c'/'
    p = two(p + 5, ((t.tm_year + 1900) // 100) % 100)
    p = two(p, (t.tm_year + 1900) % 100)
    p[0] = c':'
    p = two(p + 1, t.tm_hour)
    p[0] = c':'
    p = two(p + 1, t.tm_min)
    p[0] = c':'
    two(p + 1, t.tm_sec)
    zone = <uint32_t>((-t.tm_gmtoff if t.tm_gmtoff < 0 else t.tm_gmtoff) // 60)
    d.zone[0] = c'-' if t.tm_gmtoff < 0 else c'+'
    two(two(&d.zone[1], (zone // 60) % 100), zone % 60)
    # RFC 3164 section 4.1.2: the day of the month is padded with a space
    p = d.syslog
    memcpy(p, &MONTHS[3 * t.tm_mon], 3)
    p[3] = c' '
    two(p + 4, t.tm_mday)
    if p[4] == c'0':
        p[4] = c' '
    p[6] = c' '
    memcpy(p + 7, &d.local[12], 8)
    d.second = second


cdef void dates_init(DateCache* cache) noexcept nogil:
    cdef int i
    tzset()
    for i in range(DATE_SLOTS):
        cache.slots[i].second = -1


cdef const DateSlot* date_of(DateCache* cache, int64_t second) noexcept nogil:
    """The spellings of a second, cached: exchanges end in another order than they began, hence several slots."""
    cdef DateSlot* d
    if second < 0:
        second = 0
    elif second > <int64_t>253402214400:  # the last day of the year 9999 is left to no time zone
        second = <int64_t>253402214400
    d = &cache.slots[second & (DATE_SLOTS - 1)]
    if d.second != second:
        _spell(d, second)
    return d


cdef char* put_iso(char* p, int64_t us, DateCache* cache) noexcept nogil:
    """2009-02-06T12:14:14.655Z"""
    memcpy(p, date_of(cache, seconds(us)).iso, 19)
    p[19] = c'.'
    p = three(p + 20, millis(us))
    p[0] = c'Z'
    return p + 1


# ---- text --------------------------------------------------------------------------------------------------

cdef inline uint64_t _has(uint64_t w, uint64_t pattern) noexcept nogil:
    cdef uint64_t x = w ^ pattern
    return (x - <uint64_t>0x0101010101010101) & ~x


cdef inline bint _clean(uint64_t w, uint64_t other) noexcept nogil:
    """All eight bytes printable ASCII, none a double quote or the byte repeated in `other`."""
    cdef uint64_t bad = (
        (w - <uint64_t>0x2020202020202020) | w | _has(w, <uint64_t>0x2222222222222222)
        | _has(w, <uint64_t>0x7F7F7F7F7F7F7F7F) | _has(w, other)
    )
    return (bad & <uint64_t>0x8080808080808080) == 0


cdef inline uint32_t _utf8(const uint8_t* q, const uint8_t* e) noexcept nogil:
    """Length of the well-formed sequence at q (its first byte is >= 0x80), 0 = ill-formed."""
    cdef uint8_t c = q[0]
    cdef uint8_t low = 0x80, high = 0xBF
    if c < 0xC2 or c > 0xF4 or e - q < 2:
        return 0
    if c == 0xE0:
        low = 0xA0
    elif c == 0xED:
        high = 0x9F
    elif c == 0xF0:
        low = 0x90
    elif c == 0xF4:
        high = 0x8F
    if q[1] < low or q[1] > high:
        return 0
    if c < 0xE0:
        return 2
    if e - q < 3 or (q[2] & 0xC0) != 0x80:
        return 0
    if c < 0xF0:
        return 3
    if e - q < 4 or (q[3] & 0xC0) != 0x80:
        return 0
    return 4


cdef inline char* _u_escape(char* p, uint32_t code) noexcept nogil:
    p[0] = c'\\'
    p[1] = c'u'
    p[2] = HEX_LOWER[(code >> 12) & 15]
    p[3] = HEX_LOWER[(code >> 8) & 15]
    p[4] = HEX_LOWER[(code >> 4) & 15]
    p[5] = HEX_LOWER[code & 15]
    return p + 6


cdef char* put_json(char* p, const char* s, uint32_t n, uint32_t cap) noexcept nogil:
    """The inside of a JSON string. A byte that is not UTF-8 becomes the text \\xHH (Python's "backslashreplace").

    Control characters of Unicode's second block and its line separators are escaped as well: a terminal or a
    reader that splits lines must not act on them.
    """
    cdef const uint8_t* q = <const uint8_t*>s
    cdef const uint8_t* e = q + n
    cdef char* stop = p + cap
    cdef uint64_t w = 0
    cdef uint32_t k
    cdef uint8_t c, a
    while q < e:
        if e - q >= 8 and stop - p >= 8:
            memcpy(&w, q, 8)
            if _clean(w, <uint64_t>0x5C5C5C5C5C5C5C5C):
                memcpy(p, &w, 8)
                p += 8
                q += 8
                continue
        c = q[0]
        a = _json[c]
        if a == PLAIN:
            if p >= stop:
                break
            p[0] = <char>c
            p += 1
            q += 1
            continue
        if a == UTF8:
            k = _utf8(q, e)
            if k == 0:
                if stop - p < 5:
                    break
                p = fl_lit(p, b"\\\\x")
                p[0] = HEX_LOWER[c >> 4]
                p[1] = HEX_LOWER[c & 15]
                p += 2
                q += 1
                continue
            if k == 2 and c == 0xC2 and q[1] < 0xA0:
                if stop - p < 6:
                    break
                p = _u_escape(p, q[1])
            elif k == 3 and c == 0xE2 and q[1] == 0x80 and (q[2] == 0xA8 or q[2] == 0xA9):
                if stop - p < 6:
                    break
                p = _u_escape(p, 0x2000 + (q[2] & 0x3F))
            else:
                if stop - p < <int>k:
                    break
                memcpy(p, q, k)
                p += k
            q += k
            continue
        if a == c'u':
            if stop - p < 6:
                break
            p = _u_escape(p, c)
        else:
            if stop - p < 2:
                break
            p[0] = c'\\'
            p[1] = <char>a
            p += 2
        q += 1
    return p


cdef inline char* _put_hex(
    char* p, const char* s, uint32_t n, uint32_t cap, uint8_t other, const char* mark, uint32_t mark_len
) noexcept nogil:
    """Printable ASCII as it is; the double quote, `other` and the rest as `mark` and two hex digits."""
    cdef const uint8_t* q = <const uint8_t*>s
    cdef const uint8_t* e = q + n
    cdef char* stop = p + cap
    cdef uint64_t w = 0
    cdef uint64_t pattern = other * <uint64_t>0x0101010101010101
    cdef uint8_t c
    while q < e:
        if e - q >= 8 and stop - p >= 8:
            memcpy(&w, q, 8)
            if _clean(w, pattern):
                memcpy(p, &w, 8)
                p += 8
                q += 8
                continue
        c = q[0]
        q += 1
        if c >= 0x20 and c < 0x7F and c != c'"' and c != other:
            if p >= stop:
                break
            p[0] = <char>c
            p += 1
        else:
            if stop - p < <int>(mark_len + 2):
                break
            memcpy(p, mark, mark_len)
            p += mark_len
            p[0] = HEX_UPPER[c >> 4]
            p[1] = HEX_UPPER[c & 15]
            p += 2
    return p


cdef char* put_haproxy(char* p, const char* s, uint32_t n, uint32_t cap) noexcept nogil:
    return _put_hex(p, s, n, cap, c'#', b"#", 1)


cdef char* put_quoted(char* p, const char* s, uint32_t n, uint32_t cap) noexcept nogil:
    """The inside of a quoted text with the escapes of nginx and Apache: \\xHH of quote, backslash, unprintables."""
    return _put_hex(p, s, n, cap, c'\\', b"\\x", 2)


cdef char* put_name(char* p, const char* s, uint32_t n, uint32_t cap) noexcept nogil:
    """A word of a line whose fields are parted by spaces."""
    cdef char* stop = p + cap
    cdef uint32_t i
    cdef uint8_t c
    for i in range(n):
        c = <uint8_t>s[i]
        if _name[c] == PLAIN:
            if p >= stop:
                break
            p[0] = <char>c
            p += 1
        else:
            if stop - p < 3:
                break
            p[0] = c'#'
            p[1] = HEX_UPPER[c >> 4]
            p[2] = HEX_UPPER[c & 15]
            p += 3
    return p


cdef char* put_term(char* p, const char* term) noexcept nogil:
    cdef int i
    cdef char c
    for i in range(4):
        c = term[i]
        # a flag that was never set must not tear the line
        p[i] = c if (c >= c'A' and c <= c'Z') or (c >= c'a' and c <= c'z') else c'-'
    return p + 4
