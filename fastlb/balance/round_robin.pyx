"""Round robin in declared order, whatever the weights (0 = drained). O(1), exact over all processes."""

from fastlb._core.atomics cimport fl_add64
from fastlb._core.bits cimport mix64
from fastlb.balance.base cimport FULL_RAMP
from fastlb.balance.options import registry


cdef class RoundRobin(Algorithm):
    """One ticket a pick from the group's counter; ticket modulo n is the member.

    O(1) to pick, nothing to build. Processes sharing a group draw from one counter and so continue each other's turn.
    A server in slow start passes on the part of its turns that it is not ready for.
    """

    def __init__(self, dict options, bint shared):
        Algorithm.__init__(self, options, shared)
        self._shared = shared

    cdef int rebuild(self, ServerSet servers, View* view) except -1:
        self._ticket = view.ticket
        self.view = view
        return 0

    cdef int pick(self, Ask* ask) noexcept:
        cdef unsigned long long ticket
        cdef unsigned int ramp
        cdef int member
        for _ in range(8):
            if self._shared:
                ticket = fl_add64(self._ticket, 1)
            else:
                ticket = self._ticket[0]
                self._ticket[0] = ticket + 1
            member = <int>(ticket % self.view.n)
            if not self.view.ramping:
                break
            ramp = self.view.members[member].line.ramp
            if ramp == 0 or ramp >= FULL_RAMP or mix64(ticket) >> 48 < ramp:
                break
        return member


registry["round_robin"] = (RoundRobin, {})
