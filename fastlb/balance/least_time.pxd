from libc.stdint cimport uint32_t, uint64_t

from fastlb._core.shared cimport ServerLine
from fastlb.balance.base cimport Member
from fastlb.balance.two_choices cimport TwoChoices

cdef class LeastTime(TwoChoices):
    cdef:
        double _decay_ms

    cdef double _cost(self, Member* member, uint32_t now) noexcept
