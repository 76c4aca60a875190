"""Arithmetic on latency histograms: cumulative counts and quantiles."""


cdef inline uint64_t bound_of(int b) noexcept:
    return b + 1 if b < 8 else <uint64_t>(b % 8 + 9) << (b // 8 - 1)


# Upper bounds (exclusive) of the buckets, microseconds; the last bucket takes all that is longer.
BUCKET_BOUNDS = tuple(bound_of(b) for b in range(BUCKETS))


cdef class Mark:
    """The buckets of one histogram as they stood at some moment; all zero at first."""


cdef list ladder_of(const uint64_t* buckets, tuple edges):
    cdef uint64_t below = 0
    cdef int b = 0
    cdef int edge
    cdef list found = []
    for edge in edges:
        if not b <= edge <= BUCKETS:
            raise ValueError("edges: not ascending bucket numbers")
        while b < edge:
            below += buckets[b]
            b += 1
        found.append(below)
    while b < BUCKETS:
        below += buckets[b]
        b += 1
    found.append(below)
    return found


cdef tuple quantiles_of(const uint64_t* buckets, tuple shares, Mark since):
    cdef uint64_t[BUCKETS] fresh
    cdef uint64_t count = 0
    cdef uint64_t below
    cdef int b, i
    cdef double share, rank, low, high
    cdef list found = [0.0] * len(shares)
    for b in range(BUCKETS):
        # Less than at the mark: the line has been given to a new holder, whose durations are all fresh.
        fresh[b] = buckets[b]
        if since is not None and buckets[b] >= since._seen[b]:
            fresh[b] -= since._seen[b]
        count += fresh[b]
    if count == 0:
        return 0, found
    for i in range(len(shares)):
        share = shares[i]
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share: {share} is not in 0..1")
        rank = share * count
        below = 0
        for b in range(BUCKETS):
            if fresh[b] and <double>(below + fresh[b]) >= rank:
                break
            below += fresh[b]
        if b < 8:                       # exact
            found[i] = <double>b
            continue
        low = <double>bound_of(b - 1)
        high = <double>bound_of(b)
        found[i] = low + (high - low) * (rank - below) / fresh[b]
    return count, found
