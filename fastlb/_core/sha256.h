/* SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104) for short messages: what signed cookies are made with.
 *
 * A key is stretched once into two states (fl_hmac_key); a message of at most 55 bytes then costs two compressions, about
 * half a microsecond each in portable C, and no allocation. */
#ifndef FASTLB_SHA256_H
#define FASTLB_SHA256_H
#include <stdint.h>
#include <string.h>

typedef struct { uint32_t inner[8], outer[8]; } fl_hmac;

static const uint32_t fl_sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static inline uint32_t fl_ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

static inline void fl_sha256_start(uint32_t state[8]) {
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(state, first, sizeof(first));
}

/* Section 6.2.2: one block of 64 bytes. */
static void fl_sha256_block(uint32_t state[8], const uint8_t block[64]) {
    uint32_t w[64], a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8
               | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + (fl_ror(x, 7) ^ fl_ror(x, 18) ^ x >> 3) + w[i - 7] + (fl_ror(y, 17) ^ fl_ror(y, 19) ^ y >> 10);
    }
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = h + (fl_ror(e, 6) ^ fl_ror(e, 11) ^ fl_ror(e, 25)) + ((e & f) ^ (~e & g)) + fl_sha256_k[i] + w[i];
        uint32_t t2 = (fl_ror(a, 2) ^ fl_ror(a, 13) ^ fl_ror(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

/* The last bytes data[0:n], n <= 55, of a message of `total` bytes. */
static inline void fl_sha256_last(uint32_t state[8], const void *data, size_t n, uint64_t total) {
    uint8_t block[64] = {0};
    memcpy(block, data, n);
    block[n] = 0x80;
    for (int i = 0; i < 8; i++) block[63 - i] = (uint8_t)(total * 8 >> 8 * i);
    fl_sha256_block(state, block);
}

static inline void fl_sha256_bytes(const uint32_t state[8], uint8_t out[32]) {
    for (int i = 0; i < 32; i++) out[i] = (uint8_t)(state[i >> 2] >> (24 - 8 * (i & 3)));
}

/* Of a key of at most 64 bytes. */
static inline void fl_hmac_key(fl_hmac *k, const void *key, size_t n) {
    uint8_t pad[64] = {0};
    memcpy(pad, key, n > 64 ? 64 : n);
    for (int i = 0; i < 64; i++) pad[i] ^= 0x36;
    fl_sha256_start(k->inner);
    fl_sha256_block(k->inner, pad);
    for (int i = 0; i < 64; i++) pad[i] ^= 0x36 ^ 0x5c;
    fl_sha256_start(k->outer);
    fl_sha256_block(k->outer, pad);
}

/* HMAC of data[0:n], n <= 55. */
static inline void fl_hmac_short(const fl_hmac *k, const void *data, size_t n, uint8_t out[32]) {
    uint32_t state[8];
    memcpy(state, k->inner, sizeof(state));
    fl_sha256_last(state, data, n, 64 + n);
    fl_sha256_bytes(state, out);
    memcpy(state, k->outer, sizeof(state));
    fl_sha256_last(state, out, 32, 96);
    fl_sha256_bytes(state, out);
}

/* Whether n bytes are equal, in a time that does not tell where they differ. */
static inline int fl_same_secret(const uint8_t *a, const uint8_t *b, size_t n) {
    uint8_t differ = 0;
    for (size_t i = 0; i < n; i++) differ |= a[i] ^ b[i];
    return differ == 0;
}
#endif
