"""Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, arXiv:1608.01350), in HAProxy's integer form.

With `served` requests in flight and a factor of f percent, ceil((served + 1) * f / 100) places are shared out by
weight, at least one each; the remainders are spread by running sums so that the places add up exactly. A server is
acceptable while it holds fewer requests than places.
"""

from libc.stdlib cimport free, malloc

from fastlb._core.atomics cimport fl_load32
from fastlb._core.bits cimport fl_muldiv64


cdef uint64_t* sum_shares(const View* view) noexcept:
    cdef uint64_t* shares = <uint64_t*>malloc((view.n + 1) * sizeof(uint64_t))
    cdef uint64_t total = 0
    cdef uint32_t i
    if shares is not NULL:
        for i in range(view.n):
            total += view.members[i].weight
            shares[i] = total
    return shares


cdef uint64_t served_by(const View* view) noexcept:
    cdef uint64_t total = 0
    cdef uint32_t i
    for i in range(view.n):
        total += fl_load32(&view.members[i].line.inflight)
    return total


cdef uint64_t share_limit(const uint64_t* shares, uint32_t n, int member, uint64_t served, uint32_t percent) noexcept:
    cdef uint64_t total = shares[n - 1]
    cdef uint64_t places = ((served + 1) * percent + 99) // 100
    cdef uint64_t before = shares[member - 1] if member else 0
    cdef uint64_t weight = shares[member] - before
    cdef uint64_t rest = places % total
    cdef uint64_t slots = weight * (places // total)
    slots += fl_muldiv64(shares[member], rest, total) - fl_muldiv64(before, rest, total)
    return slots if slots else 1


def places(list weights, int served, int percent):
    """Places of each server by weight: the rule of `share_limit` for Python callers and tests. Weights above 0."""
    cdef uint64_t total = 0
    cdef uint64_t* shares = <uint64_t*>malloc((len(weights) + 1) * sizeof(uint64_t))
    if shares is NULL:
        raise MemoryError()
    try:
        for i, weight in enumerate(weights):
            total += weight
            shares[i] = total
        return [share_limit(shares, len(weights), i, served, percent) for i in range(len(weights))]
    finally:
        free(shares)
