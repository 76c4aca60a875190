/* Integer operations that have no spelling in Cython: 128-bit products, byte swaps, unaligned little-endian loads. */
#ifndef FASTLB_BITS_H
#define FASTLB_BITS_H
#include <stdint.h>
#include <string.h>

static inline uint64_t fl_read64(const void *p) {
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline uint32_t fl_read32(const void *p) {
    uint32_t v;
    memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline uint64_t fl_bswap64(uint64_t v) { return __builtin_bswap64(v); }
static inline uint64_t fl_rotl64(uint64_t v, int n) { return (v << n) | (v >> (64 - n)); }

/* Both halves of the 128-bit product, combined by exclusive or. */
static inline uint64_t fl_fold64(uint64_t a, uint64_t b) {
    unsigned __int128 r = (unsigned __int128)a * b;
    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

/* a * b / c without overflow of the product; the quotient must fit 64 bits, c > 0. */
static inline uint64_t fl_muldiv64(uint64_t a, uint64_t b, uint64_t c) {
    return (uint64_t)((unsigned __int128)a * b / c);
}

/* a number in [0, n) from 64 evenly spread bits, without a division */
static inline uint32_t fl_below(uint64_t bits, uint32_t n) { return (uint32_t)(((bits >> 32) * n) >> 32); }

static inline void fl_prefetch(const void *p) { __builtin_prefetch(p, 1, 3); }

/* True when (a, b) comes before (c, d); without a branch, for comparisons nobody could predict. */
static inline int fl_before(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return (((unsigned __int128)a << 64) | b) < (((unsigned __int128)c << 64) | d);
}

/* Bits of a number >= 0; they order as the numbers do. */
static inline uint64_t fl_bits_of_double(double v) {
    uint64_t bits;
    memcpy(&bits, &v, 8);
    return bits;
}
#endif
