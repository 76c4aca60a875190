"""Spillover: the load that each priority tier takes.

A tier that has lost servers is not abandoned at once. Its availability is *healthy share * overprovisioning factor*,
at most 100 %: with a factor of 1.4 a tier carries everything until fewer than 72 % of its servers are well, then the
next tier takes what is missing. When all tiers together come to less than 100 %, they share in proportion. The rule and
its whole percents are Envoy's (priority levels, overprovisioning_factor 140); what division leaves over goes by largest
remainder, which is what Envoy's documented tables show, and not to the first tier, as its code does.
"""

from libc.stdint cimport uint32_t, uint64_t

from fastlb.balance.base cimport ALL_TIERS


cdef uint32_t spread_load(
    const uint32_t* usable, const uint32_t* wanted, int n, uint32_t over, uint32_t* load
) noexcept nogil:
    cdef uint32_t[ALL_TIERS] health
    cdef uint64_t share
    cdef uint32_t total = 0
    cdef uint32_t left = 100
    cdef int t
    for t in range(n):
        share = <uint64_t>over * usable[t] // wanted[t] if wanted[t] else 0
        health[t] = <uint32_t>min(share, <uint64_t>100)
        total += health[t]
    if total < 100:
        apportion(health, n, load)
        return total
    for t in range(n):
        load[t] = min(left, health[t])
        left -= load[t]
    return 100


cdef void apportion(const uint32_t* parts, int n, uint32_t* load) noexcept nogil:
    cdef uint64_t[ALL_TIERS] rest
    cdef uint64_t total = 0
    cdef uint32_t left = 100
    cdef int t, most
    for t in range(n):
        total += parts[t]
        load[t] = 0
    if total == 0:
        return
    for t in range(n):
        load[t] = <uint32_t>(<uint64_t>parts[t] * 100 // total)
        rest[t] = <uint64_t>parts[t] * 100 % total
        left -= load[t]
    while left:                         # fewer times than there are tiers
        most = 0
        for t in range(1, n):
            if rest[t] > rest[most]:
                most = t
        load[most] += 1
        rest[most] = 0
        left -= 1


def tier_loads(tiers, overprovisioning=1.4):
    """Percent of the requests that each tier gets; `tiers` is a list of (healthy, all) servers, at most eight.

    All 0 when nobody is healthy anywhere, which panic mode is for.
    """
    cdef uint32_t[ALL_TIERS] usable
    cdef uint32_t[ALL_TIERS] wanted
    cdef uint32_t[ALL_TIERS] load
    cdef int n = len(tiers)
    if n >= ALL_TIERS:
        raise ValueError(f"at most {ALL_TIERS - 1} tiers, not {n}")
    for t, (healthy, everybody) in enumerate(tiers):
        usable[t], wanted[t] = healthy, everybody
    spread_load(usable, wanted, n, round(overprovisioning * 100), load)
    return [load[t] for t in range(n)]
