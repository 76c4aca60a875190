/* Byte classes of HTTP/1.1 and the scans over them (RFC 9110 section 5.6, RFC 9112 sections 2 to 5).
 *
 * Every scan takes [p, end) and returns the first byte that is *not* of its class, or end. `base` is the first byte of
 * the buffer: when fewer than 16 bytes are left, the last 16 bytes of the buffer are loaded instead and the part before
 * p is masked away, so no scan ever reads a byte outside [base, end). Define FASTLB_SCAN_PORTABLE to build the
 * portable form on x86 as well (the tests do).
 *
 * There is no AVX2 form: most fields fit one or two blocks of 16 bytes, and what counts is the way from one line's end
 * to the next, which wider registers do not shorten. A whole build for AVX2 measured 3 % on a browser's head.
 */
#ifndef FASTLB_HTTP_SCAN_H
#define FASTLB_HTTP_SCAN_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(FASTLB_SCAN_PORTABLE)
#include <emmintrin.h>
#define FL_SCAN_SSE2 1
#else
#define FL_SCAN_SSE2 0
#endif

#define FL_LIKELY(x) __builtin_expect(!!(x), 1)
#define FL_UNLIKELY(x) __builtin_expect(!!(x), 0)

enum {
    FL_TOKEN = 1,    /* tchar, RFC 9110 section 5.6.2 */
    FL_VALUE = 2,    /* HTAB, SP, VCHAR, obs-text: what a field value may hold, RFC 9110 section 5.5 */
    FL_TARGET = 4,   /* VCHAR without '?' and '#' */
    FL_DIGIT = 8,
    FL_HEX = 16,
    FL_REGNAME = 32, /* unreserved and sub-delims of RFC 3986 section 3.2.2 but the comma, see authority.pyx */
    FL_QDTEXT = 64,  /* RFC 9110 section 5.6.4 */
    FL_COMMON = 128  /* letters, digits and '-': what nearly every field name is made of */
};

/* Longest body that a length may announce. What is left of 64 bits keeps sums of lengths from overflowing. */
#define FL_LENGTH_MAX (1ull << 62)

/* One byte a character; made by the ranges of the RFCs, checked against them by tests/http/test_tokens.py. */
#define T FL_TOKEN
#define V FL_VALUE
#define U FL_TARGET
#define D FL_DIGIT
#define X FL_HEX
#define R FL_REGNAME
#define Q FL_QDTEXT
#define C FL_COMMON
#define FL_OBS16                                                                                                      \
    V | Q, V | Q, V | Q, V | Q, V | Q, V | Q, V | Q, V | Q, V | Q, V | Q, V | Q, V | Q, V | Q, V | Q, V | Q, V | Q
static const uint8_t fl_class[256] = {
    /* 00 */ 0, 0, 0, 0, 0, 0, 0, 0, 0, V | Q, 0, 0, 0, 0, 0, 0,
    /* 10 */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /* sp ! " # */ V | Q, T | V | U | R | Q, V | U, T | V | Q,
    /* $ % & ' */ T | V | U | R | Q, T | V | U | Q, T | V | U | R | Q, T | V | U | R | Q,
    /* ( ) * + */ V | U | R | Q, V | U | R | Q, T | V | U | R | Q, T | V | U | R | Q,
    /* , - . / */ V | U | Q, C | T | V | U | R | Q, T | V | U | R | Q, V | U | Q,
#define FL_DIG C | T | V | U | D | X | R | Q
    /* 0-7 */ FL_DIG, FL_DIG, FL_DIG, FL_DIG, FL_DIG, FL_DIG, FL_DIG, FL_DIG,
    /* 89:; */ FL_DIG, FL_DIG, V | U | Q, V | U | R | Q,
    /* <=>? */ V | U | Q, V | U | R | Q, V | U | Q, V | Q,
#define FL_AF C | T | V | U | X | R | Q
#define FL_AZ C | T | V | U | R | Q
    /* @A-G */ V | U | Q, FL_AF, FL_AF, FL_AF, FL_AF, FL_AF, FL_AF, FL_AZ,
    /* H-O */ FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ,
    /* P-W */ FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ,
    /* XYZ[ \]^_ */ FL_AZ, FL_AZ, FL_AZ, V | U | Q, V | U, V | U | Q, T | V | U | Q, T | V | U | R | Q,
    /* `a-g */ T | V | U | Q, FL_AF, FL_AF, FL_AF, FL_AF, FL_AF, FL_AF, FL_AZ,
    /* h-o */ FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ,
    /* p-w */ FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ, FL_AZ,
    /* xyz{ |}~DEL */ FL_AZ, FL_AZ, FL_AZ, V | U | Q, T | V | U | Q, V | U | Q, T | V | U | R | Q, 0,
    FL_OBS16, FL_OBS16, FL_OBS16, FL_OBS16, FL_OBS16, FL_OBS16, FL_OBS16, FL_OBS16};
#undef T
#undef V
#undef U
#undef D
#undef X
#undef R
#undef Q
#undef C
#undef FL_OBS16
#undef FL_DIG
#undef FL_AF
#undef FL_AZ

static inline int fl_is(uint8_t c, int classes) { return fl_class[c] & classes; }

/* Value of a hexadecimal digit, or -1. */
static inline int fl_hex(uint8_t c) {
    if (!(fl_class[c] & FL_HEX)) return -1;
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static inline uint8_t fl_lower(uint8_t c) { return (uint8_t)(c - 'A') < 26 ? c | 0x20 : c; }

static inline uint64_t fl_load8(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static inline uint32_t fl_load4(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static inline const uint8_t *fl_run(const uint8_t *p, const uint8_t *end, int cls) {
    while (p < end && (fl_class[*p] & cls)) p++;
    return p;
}

#if FL_SCAN_SSE2

/* Bit i set: byte i of the block is not of the class. Comparisons of epi8 are signed, so bytes from 0x80 are below 0. */
static inline __attribute__((always_inline)) unsigned fl_not_value(__m128i v) {
    __m128i ctl = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
    __m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));
    __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, ctl), del));
}

static inline __attribute__((always_inline)) unsigned fl_not_target(__m128i v) {
    __m128i bad = _mm_cmplt_epi8(v, _mm_set1_epi8(0x21)); /* controls, SP, and from 0x80 up */
    bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
    bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8('?')));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8('#'))));
}

static inline __attribute__((always_inline)) unsigned fl_not_common(__m128i v) {
    __m128i a = _mm_sub_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
    __m128i alpha = _mm_cmpeq_epi8(_mm_min_epu8(a, _mm_set1_epi8(25)), a);
    __m128i d = _mm_sub_epi8(v, _mm_set1_epi8('0'));
    __m128i digit = _mm_cmpeq_epi8(_mm_min_epu8(d, _mm_set1_epi8(9)), d);
    __m128i dash = _mm_cmpeq_epi8(v, _mm_set1_epi8('-'));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(alpha, digit), dash)) ^ 0xffffu;
}

/* The same and '.': what most hosts are made of. */
static inline __attribute__((always_inline)) unsigned fl_not_host(__m128i v) {
    return fl_not_common(v) & ~(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('.')));
}

#define FL_DEFINE_SCAN(NAME, MASK, CLASS)                                                                             \
    static inline __attribute__((always_inline)) const uint8_t *NAME(const uint8_t *p, const uint8_t *end,            \
                                                                     const uint8_t *base) {                           \
        while (end - p >= 16) {                                                                                       \
            unsigned m = MASK(_mm_loadu_si128((const __m128i *)p));                                                   \
            if (m) return p + __builtin_ctz(m);                                                                       \
            p += 16;                                                                                                  \
        }                                                                                                             \
        if (p == end) return end;                                                                                     \
        if (FL_LIKELY(end - base >= 16)) {                                                                            \
            unsigned m = MASK(_mm_loadu_si128((const __m128i *)(end - 16))) >> (16 - (end - p));                      \
            return m ? p + __builtin_ctz(m) : end;                                                                    \
        }                                                                                                             \
        return fl_run(p, end, CLASS);                                                                                 \
    }

FL_DEFINE_SCAN(fl_scan_value, fl_not_value, FL_VALUE)
FL_DEFINE_SCAN(fl_scan_target, fl_not_target, FL_TARGET)
FL_DEFINE_SCAN(fl_scan_common, fl_not_common, FL_COMMON)
FL_DEFINE_SCAN(fl_scan_host, fl_not_host, FL_COMMON) /* may stop at a '.' when there is little to scan */
#undef FL_DEFINE_SCAN

#else

/* Eight bytes at a time: zero when all of them are plain (0x20 to 0x7e without the two bytes given). */
static inline uint64_t fl_odd8(uint64_t v, uint8_t one, uint8_t two) {
    const uint64_t ones = 0x0101010101010101ull, high = 0x8080808080808080ull;
    uint64_t low = (v - ones * 0x20) & ~v;             /* high bit: byte below 0x20 (or borrowed into: then one is) */
    uint64_t d = v ^ (ones * 0x7f), a = v ^ (ones * one), b = v ^ (ones * two);
    return (low | ((d - ones) & ~d) | ((a - ones) & ~a) | ((b - ones) & ~b) | v) & high;
}

static inline const uint8_t *fl_scan_value(const uint8_t *p, const uint8_t *end, const uint8_t *base) {
    (void)base;
    while (end - p >= 8) {
        if (fl_odd8(fl_load8(p), 0x7f, 0x7f)) {
            const uint8_t *q = fl_run(p, p + 8, FL_VALUE);
            if (q != p + 8) return q;
        }
        p += 8;
    }
    return fl_run(p, end, FL_VALUE);
}

static inline const uint8_t *fl_scan_target(const uint8_t *p, const uint8_t *end, const uint8_t *base) {
    (void)base;
    return fl_run(p, end, FL_TARGET);
}

static inline const uint8_t *fl_scan_common(const uint8_t *p, const uint8_t *end, const uint8_t *base) {
    (void)base;
    return fl_run(p, end, FL_COMMON);
}

static inline const uint8_t *fl_scan_host(const uint8_t *p, const uint8_t *end, const uint8_t *base) {
    (void)base, (void)end;
    return p; /* the caller goes on by the table */
}

#endif

/* Case-insensitive comparison of n bytes, all of them tchars, with a name that is stored in lower case. Setting 0x20
 * maps letters only onto letters here: among the tchars nothing else lands on a letter, a digit or '-'. */
static inline int fl_same_name(const uint8_t *name, const uint8_t *lower, unsigned n) {
    const uint64_t fold = 0x2020202020202020ull;
    if (n >= 8) {
        uint64_t diff = 0;
        unsigned i = 0;
        for (; i + 8 < n; i += 8) diff |= (fl_load8(name + i) | fold) ^ fl_load8(lower + i);
        return (diff | ((fl_load8(name + n - 8) | fold) ^ fl_load8(lower + n - 8))) == 0;
    }
    if (n >= 4)
        return (((fl_load4(name) | (uint32_t)fold) ^ fl_load4(lower)) |
                ((fl_load4(name + n - 4) | (uint32_t)fold) ^ fl_load4(lower + n - 4))) == 0;
    for (unsigned i = 0; i < n; i++)
        if ((name[i] | 0x20) != lower[i]) return 0;
    return 1;
}

#endif
