# Integer operations of bits.h, and the mixers built on them.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "bits.h" nogil:
    uint64_t fl_read64(const void* p)
    uint32_t fl_read32(const void* p)
    uint64_t fl_bswap64(uint64_t v)
    uint64_t fl_rotl64(uint64_t v, int n)
    uint64_t fl_fold64(uint64_t a, uint64_t b)
    uint64_t fl_muldiv64(uint64_t a, uint64_t b, uint64_t c)
    uint32_t fl_below(uint64_t bits, uint32_t n)
    void fl_prefetch(const void* p)                         # for writing; any address will do
    bint fl_before(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
    uint64_t fl_bits_of_double(double v)

# A bijection of 64 bits in which each input bit changes each output bit with probability close to one half
# (Stafford's variant 13, the finaliser of SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
cdef inline uint64_t mix64(uint64_t z) noexcept nogil:
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)

# Next number of the SplitMix64 generator whose state is *state; period 2**64.
cdef inline uint64_t next_random(uint64_t* state) noexcept nogil:
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    return mix64(state[0])
