# What log lines are made of: numbers, dates, escaped texts. Every function writes from `p` and returns the new end.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    DATE_SLOTS = 16             # a power of two

# One second in every spelling.
ctypedef struct DateSlot:
    int64_t second
    char local[20]              # 06/Feb/2009:12:14:14
    char zone[5]                # +0100
    char iso[19]                # 2009-02-06T12:14:14, UTC
    char syslog[15]             # Feb  6 12:14:14, local

# Exchanges end in another order than they began, hence several seconds.
ctypedef struct DateCache:
    DateSlot slots[DATE_SLOTS]

cdef extern from *:
    """
    #ifndef FASTLB_LOG_TEXT
    #define FASTLB_LOG_TEXT
    #include <string.h>
    static const char FL_PAIRS[] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
        "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    /* strlen of a literal folds, so this is a few stores */
    static inline __attribute__((always_inline)) char* fl_lit(char* p, const char* s) {
        size_t n = __builtin_strlen(s);
        memcpy(p, s, n);
        return p + n;
    }
    #endif
    """
    const char* FL_PAIRS
    char* fl_lit(char* p, const char* s) noexcept nogil

cdef void dates_init(DateCache* cache) noexcept nogil
# The spellings of a second since the epoch, clamped to the years 1970-9999.
cdef const DateSlot* date_of(DateCache* cache, int64_t second) noexcept nogil
cdef char* put_iso(char* p, int64_t us, DateCache* cache) noexcept nogil

# At most `cap` bytes of the escaped text; what is longer is cut, never inside an escape or a character.
cdef char* put_json(char* p, const char* s, uint32_t n, uint32_t cap) noexcept nogil
cdef char* put_haproxy(char* p, const char* s, uint32_t n, uint32_t cap) noexcept nogil
cdef char* put_quoted(char* p, const char* s, uint32_t n, uint32_t cap) noexcept nogil
cdef char* put_name(char* p, const char* s, uint32_t n, uint32_t cap) noexcept nogil
cdef char* put_term(char* p, const char* term) noexcept nogil


cdef inline char* two(char* p, uint32_t v) noexcept nogil:
    memcpy(p, &FL_PAIRS[2 * v], 2)
    return p + 2


cdef inline char* three(char* p, uint32_t v) noexcept nogil:
    p[0] = <char>(48 + v // 100)
    return two(p + 1, v % 100)


cdef inline char* put_number(char* p, uint64_t v) noexcept nogil:
    cdef char digits[20]
    cdef int at = 20
    cdef uint64_t q
    if v < 10:
        p[0] = <char>(48 + v)
        return p + 1
    while v >= 100:
        q = v // 100
        at -= 2
        memcpy(&digits[at], &FL_PAIRS[2 * (v - q * 100)], 2)
        v = q
    if v >= 10:
        memcpy(p, &FL_PAIRS[2 * v], 2)
        p += 2
    else:
        p[0] = <char>(48 + v)
        p += 1
    memcpy(p, &digits[at], 20 - at)
    return p + (20 - at)


cdef inline char* put_timer(char* p, int32_t v) noexcept nogil:
    if v < 0:
        p[0] = c'-'
        p[1] = c'1'
        return p + 2
    return put_number(p, <uint64_t>v)


cdef inline int64_t seconds(int64_t us) noexcept nogil:
    return us // 1000000 if us > 0 else 0


cdef inline uint32_t millis(int64_t us) noexcept nogil:
    return <uint32_t>(us % 1000000) // 1000 if us > 0 else 0
