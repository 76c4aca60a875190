"""First server with room: fills servers in declared order up to their limits, so that surplus ones stay idle."""

from fastlb._core.atomics cimport fl_load32
from fastlb.balance.base cimport Member, limit_of, was_tried
from fastlb.balance.options import registry


cdef class First(Algorithm):
    """The first member below its limit, whatever the weights. O(n). Pointless without limits. Source: HAProxy
    lb_fas.c."""

    cdef int pick(self, Ask* ask) noexcept:
        cdef Member* member
        if ask.attempt == 0:
            self._at = 0
        while <unsigned int>self._at < self.view.n:
            member = &self.view.members[self._at]
            self._at += 1
            if was_tried(ask.tried, ask.ntried, member.slot):
                continue
            if limit_of(member.line) == 0 or fl_load32(&member.line.inflight) < limit_of(member.line):
                return self._at - 1
        return -1


registry["first"] = (First, {})
