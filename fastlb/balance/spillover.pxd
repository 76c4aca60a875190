# How load divides over priority tiers by how many of their servers are well.
from libc.stdint cimport uint32_t

# load[t], percent, of the tiers 0..n-1 of which usable[t] of wanted[t] servers are well; `over` is the overprovisioning
# factor in percent. Returns the sum of the tiers' availability, 0-100: below 100 there is less than a full tier's worth
# of servers, at 0 all loads are 0. O(n).
cdef uint32_t spread_load(
    const uint32_t* usable, const uint32_t* wanted, int n, uint32_t over, uint32_t* load
) noexcept nogil
# 100 percent in proportion to `parts` by largest remainder; all 0 when they are.
cdef void apportion(const uint32_t* parts, int n, uint32_t* load) noexcept nogil
