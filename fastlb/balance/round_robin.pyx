"""Round robin in declared order, whatever the weights (0 = drained). O(1), exact over all processes."""

from fastlb._core.atomics cimport fl_add64
from fastlb.balance.options import registry


cdef class RoundRobin(Algorithm):
    """One ticket a pick from the group's counter; ticket modulo n is the member.

    O(1) to pick, nothing to build. Processes sharing a group draw from one counter and so continue each other's turn.
    """

    def __init__(self, dict options, bint shared):
        Algorithm.__init__(self, options, shared)
        self._shared = shared

    cdef int rebuild(self, ServerSet servers, View* view) except -1:
        self._group = servers.group
        self.view = view
        return 0

    cdef int pick(self, Ask* ask) noexcept:
        cdef unsigned long long ticket
        if self._shared:
            ticket = fl_add64(&self._group.ticket, 1)
        else:
            ticket = self._group.ticket
            self._group.ticket = ticket + 1
        return <int>(ticket % self.view.n)


registry["round_robin"] = (RoundRobin, {})
