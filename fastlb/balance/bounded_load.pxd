# Bounded load: nobody holds more than `bound` times its share of what is in flight.
from libc.stdint cimport uint32_t, uint64_t

from fastlb.balance.base cimport View

# Running sums of the members' weights (malloc); NULL = no memory.
cdef uint64_t* sum_shares(const View* view) noexcept
# Requests in flight on all members. O(n).
cdef uint64_t served_by(const View* view) noexcept
# Most requests that `member` may hold while `served` are in flight and one more comes. O(1).
cdef uint64_t share_limit(const uint64_t* shares, uint32_t n, int member, uint64_t served, uint32_t percent) noexcept
