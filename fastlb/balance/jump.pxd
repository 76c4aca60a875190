from libc.stdint cimport uint64_t

from fastlb.balance.base cimport Algorithm, Ask

cdef class Jump(Algorithm):
    pass

# Bucket 0..buckets-1 of a key.
cdef int jump_bucket(uint64_t key, int buckets) noexcept nogil
