/* XXH3-64, seed 0, default secret: own scalar code from the published specification of xxHash
 * (doc/xxhash_spec.md, sections "XXH3 Algorithm Description"). Keys are hashed on the request path, so it is inline
 * C and not the `xxhash` package, where the call would cost more than the hash. Scalar, because keys are short. */
#ifndef FASTLB_XXH3_H
#define FASTLB_XXH3_H
#include <stddef.h>
#include <stdint.h>
#include "bits.h"

#define FL_XXH3_SECRET_SIZE 192
#define FL_XXH3_STRIPE 64
#define FL_XXH3_STRIPES_PER_BLOCK 16 /* (secret size - 64) / 8 */
#define FL_XXH3_BLOCK 1024           /* stripe * stripes per block */

static const uint64_t FL_P32_1 = 0x9E3779B1ULL, FL_P32_2 = 0x85EBCA77ULL, FL_P32_3 = 0xC2B2AE3DULL;
static const uint64_t FL_P64_1 = 0x9E3779B185EBCA87ULL, FL_P64_2 = 0xC2B2AE3D27D4EB4FULL,
                      FL_P64_3 = 0x165667B19E3779F9ULL, FL_P64_4 = 0x85EBCA77C2B2AE63ULL,
                      FL_P64_5 = 0x27D4EB2F165667C5ULL;
static const uint64_t FL_MX1 = 0x165667919E3779F9ULL, FL_MX2 = 0x9FB21C651E98DF25ULL;

/* "Seed and Secret": the default secret. */
static const uint8_t FL_XXH3_SECRET[FL_XXH3_SECRET_SIZE] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

static inline uint64_t fl_xxh3_avalanche(uint64_t x) {
    x ^= x >> 37;
    x *= FL_MX1;
    return x ^ (x >> 32);
}

static inline uint64_t fl_xxh64_avalanche(uint64_t x) {
    x ^= x >> 33;
    x *= FL_P64_2;
    x ^= x >> 29;
    x *= FL_P64_3;
    return x ^ (x >> 32);
}

/* "Small inputs": 0 to 16 bytes. The secret words are constants the compiler folds. */
static inline uint64_t fl_xxh3_small(const uint8_t *in, size_t len) {
    const uint8_t *s = FL_XXH3_SECRET;
    if (len > 8) {
        uint64_t low = (fl_read64(s + 24) ^ fl_read64(s + 32)) ^ fl_read64(in);
        uint64_t high = (fl_read64(s + 40) ^ fl_read64(s + 48)) ^ fl_read64(in + len - 8);
        return fl_xxh3_avalanche(len + fl_bswap64(low) + high + fl_fold64(low, high));
    }
    if (len >= 4) {
        uint64_t combined = fl_read32(in + len - 4) | ((uint64_t)fl_read32(in) << 32);
        uint64_t v = (fl_read64(s + 8) ^ fl_read64(s + 16)) ^ combined;
        v ^= fl_rotl64(v, 49) ^ fl_rotl64(v, 24);
        v *= FL_MX2;
        v ^= (v >> 35) + len;
        v *= FL_MX2;
        return v ^ (v >> 28);
    }
    if (len > 0) {
        uint32_t combined =
            in[len - 1] | ((uint32_t)len << 8) | ((uint32_t)in[0] << 16) | ((uint32_t)in[len >> 1] << 24);
        return fl_xxh64_avalanche((uint64_t)(fl_read32(s) ^ fl_read32(s + 4)) ^ combined);
    }
    return fl_xxh64_avalanche(fl_read64(s + 56) ^ fl_read64(s + 64));
}

static inline uint64_t fl_xxh3_mix(const uint8_t *in, size_t at) {
    return fl_fold64(fl_read64(in) ^ fl_read64(FL_XXH3_SECRET + at),
                     fl_read64(in + 8) ^ fl_read64(FL_XXH3_SECRET + at + 8));
}

/* "Medium inputs": 17 to 240 bytes. */
static uint64_t fl_xxh3_medium(const uint8_t *in, size_t len) {
    uint64_t acc = len * FL_P64_1;
    if (len <= 128) {
        for (int i = (int)((len - 1) >> 5); i >= 0; i--) {
            acc += fl_xxh3_mix(in + i * 16, i * 32);
            acc += fl_xxh3_mix(in + len - i * 16 - 16, i * 32 + 16);
        }
        return fl_xxh3_avalanche(acc);
    }
    int chunks = (int)(len >> 4);
    for (int i = 0; i < 8; i++)
        acc += fl_xxh3_mix(in + i * 16, i * 16);
    acc = fl_xxh3_avalanche(acc);
    for (int i = 8; i < chunks; i++)
        acc += fl_xxh3_mix(in + i * 16, (i - 8) * 16 + 3);
    acc += fl_xxh3_mix(in + len - 16, 119);
    return fl_xxh3_avalanche(acc);
}

static inline void fl_xxh3_stripe(uint64_t acc[8], const uint8_t *in, size_t at) {
    for (int i = 0; i < 8; i++) {
        uint64_t lane = fl_read64(in + i * 8);
        uint64_t v = lane ^ fl_read64(FL_XXH3_SECRET + at + i * 8);
        acc[i ^ 1] += lane;
        acc[i] += (v & 0xFFFFFFFFULL) * (v >> 32);
    }
}

/* "Large inputs": more than 240 bytes. */
static uint64_t fl_xxh3_large(const uint8_t *in, size_t len) {
    uint64_t acc[8] = {FL_P32_3, FL_P64_1, FL_P64_2, FL_P64_3, FL_P64_4, FL_P32_2, FL_P64_5, FL_P32_1};
    const uint8_t *end = in + len;
    size_t left = len;
    while (left > FL_XXH3_BLOCK) {
        for (int n = 0; n < FL_XXH3_STRIPES_PER_BLOCK; n++)
            fl_xxh3_stripe(acc, in + n * FL_XXH3_STRIPE, n * 8);
        for (int i = 0; i < 8; i++) {
            acc[i] ^= acc[i] >> 47;
            acc[i] ^= fl_read64(FL_XXH3_SECRET + FL_XXH3_SECRET_SIZE - 64 + i * 8);
            acc[i] *= FL_P32_1;
        }
        in += FL_XXH3_BLOCK;
        left -= FL_XXH3_BLOCK;
    }
    int stripes = (int)((left - 1) / FL_XXH3_STRIPE);
    for (int n = 0; n < stripes; n++)
        fl_xxh3_stripe(acc, in + n * FL_XXH3_STRIPE, n * 8);
    fl_xxh3_stripe(acc, end - FL_XXH3_STRIPE, FL_XXH3_SECRET_SIZE - 71);
    uint64_t result = len * FL_P64_1;
    for (int i = 0; i < 4; i++)
        result += fl_fold64(acc[i * 2] ^ fl_read64(FL_XXH3_SECRET + 11 + i * 16),
                            acc[i * 2 + 1] ^ fl_read64(FL_XXH3_SECRET + 11 + i * 16 + 8));
    return fl_xxh3_avalanche(result);
}

static inline uint64_t fl_xxh3_64(const void *data, size_t len) {
    const uint8_t *in = (const uint8_t *)data;
    if (len <= 16)
        return fl_xxh3_small(in, len);
    return len <= 240 ? fl_xxh3_medium(in, len) : fl_xxh3_large(in, len);
}
#endif
