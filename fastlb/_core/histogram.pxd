# Arithmetic on latency histograms: buckets of microseconds, eight to each power of two.
from libc.stdint cimport uint64_t

cdef enum:
    BUCKETS = 200               # of a histogram

cdef extern from *:
    """
    /* Bucket of a duration: exact below 8, then eight to each power of two. */
    static inline unsigned fl_bucket_of(unsigned long long us) {
        unsigned e;
        if (us < 8) return (unsigned)us;
        if (us >= (1ull << 27)) return 199;
        e = 63u - (unsigned)__builtin_clzll(us);
        return (e - 2) * 8 + (unsigned)((us >> (e - 3)) & 7);
    }
    """
    unsigned bucket_of "fl_bucket_of"(uint64_t us) noexcept nogil

cdef class Mark:
    cdef uint64_t _seen[BUCKETS]

# Cumulative counts below the lower bound of each bucket in `edges`, then the number of all.
cdef list ladder_of(const uint64_t* buckets, tuple edges)
# (number of durations, [microseconds that each of `shares` stay below]); what was there at `since` is left out.
cdef tuple quantiles_of(const uint64_t* buckets, tuple shares, Mark since)
