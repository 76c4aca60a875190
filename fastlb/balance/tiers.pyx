"""Tiers of servers: which of a set take part now.

A server is *usable* when it is up, not drained, not in maintenance, not ejected, its circuit breaker is not open and it
has a weight. It is *eligible*
when only its health stands against it. The primaries that are usable serve; only when there is none do the backups.
When neither backups can help nor enough primaries are left (`panic`, a share of the eligible ones), health is
disbelieved and all eligible primaries serve: overloading the last survivor helps nobody (Envoy calls it panic mode,
threshold 50 %). With nobody usable anywhere, panic means all eligible servers of both tiers. A circuit breaker stands
against panic too: what it keeps away is load. A server whose breaker is half open takes part for the few requests that
are permitted, but its tier does not count on it.
"""

from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport calloc, free, malloc

from fastlb._core.atomics cimport fl_load32
from fastlb._core.shared cimport SERVER_DRAIN, SERVER_EJECTED, SERVER_MAINT, SERVER_OPEN, SERVER_TRIAL, SERVER_UP
from fastlb.balance.base cimport FULL_RAMP, Member, Seat, Slot

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size)


cdef inline void _read(Slot* slot) noexcept:
    """Copies what the record says now."""
    cdef uint32_t state = fl_load32(&slot.line.state)
    slot.weight = min(fl_load32(&slot.line.weight), <uint32_t>65535)
    slot.ramp = fl_load32(&slot.line.ramp)
    if slot.ramp == 0 or slot.ramp > FULL_RAMP:
        slot.ramp = FULL_RAMP           # never written, or nonsense: no slow start
    slot.eligible = slot.weight > 0 and not state & (SERVER_DRAIN | SERVER_MAINT | SERVER_OPEN)
    slot.usable = slot.eligible and state & SERVER_UP and not state & SERVER_EJECTED
    slot.trial = slot.usable and state & SERVER_TRIAL


cdef View* build_view(ServerSet servers, double panic) noexcept:
    cdef uint32_t[2] usable = [0, 0]
    cdef uint32_t[2] eligible = [0, 0]
    cdef uint32_t i, n = servers.count
    cdef Slot* slot
    cdef View* view
    cdef bint failopen = False
    cdef int first = 0, last = 0        # tiers in use
    for i in range(n):
        slot = &servers.slots[i]
        _read(slot)
        usable[slot.backup] += slot.usable and not slot.trial
        eligible[slot.backup] += slot.eligible
    if usable[0] == 0 and usable[1] > 0:
        first = last = 1
    elif usable[1] == 0 and panic > 0:
        failopen = usable[0] < panic * eligible[0]
        if usable[0] == 0:              # nobody anywhere
            failopen = True
            last = 1

    view = <View*>calloc(1, sizeof(View))
    if view is NULL:
        return NULL
    view.nslots = n
    view.members = <Member*>aligned_alloc(64, (n // 2 + 1) * 2 * sizeof(Member))
    view.seats = <Seat*>malloc((n + 1) * sizeof(Seat))
    view.member_of = <int32_t*>malloc((n + 1) * sizeof(int32_t))
    if view.members is NULL or view.seats is NULL or view.member_of is NULL:
        free_view(view)
        return NULL
    view.equal = True
    for i in range(n):
        _place(view, &servers.slots[i], i, first, last, failopen)
    return view


cdef inline void _place(View* view, Slot* slot, uint32_t i, int first, int last, bint failopen) noexcept:
    """Enters one slot into the picture."""
    cdef Member* member
    cdef Seat* seat
    view.member_of[i] = -1
    if (slot.backup < first or slot.backup > last) and not slot.trial:
        return
    if slot.eligible if failopen else slot.usable:
        member = &view.members[view.n]
        member.line = slot.line
        member.object = slot.object
        member.slot = i
        member.load = fl_load32(&slot.line.inflight)
        member.weight = slot.weight * slot.ramp
        member.trial = slot.trial
        if slot.trial:
            view.trial = True
        if slot.ramp < FULL_RAMP:
            view.ramping = True
        if member.weight == 0:
            member.weight = 1
        if member.weight != view.members[0].weight:
            view.equal = False
        view.member_of[i] = view.n
        view.n += 1
    seat = &view.seats[view.nseats]
    seat.identity = slot.identity
    seat.weight = slot.weight
    seat.ramp = slot.ramp
    seat.slot = i
    seat.member = view.member_of[i]
    view.nseats += 1


cdef void free_view(View* view) noexcept:
    if view is NULL:
        return
    free(view.members)
    free(view.seats)
    free(view.member_of)
    free(view)


cdef bint same_members(const View* a, const View* b) noexcept:
    cdef uint32_t i
    if a is NULL or b is NULL or a.n != b.n:
        return False
    for i in range(a.n):
        if (
            a.members[i].slot != b.members[i].slot
            or a.members[i].line is not b.members[i].line
            or a.members[i].object is not b.members[i].object
            or a.members[i].weight != b.members[i].weight
            or a.members[i].trial != b.members[i].trial
        ):
            return False
    return True


cdef bint same_seats(const View* a, const View* b) noexcept:
    cdef uint32_t i
    if a is NULL or b is NULL or a.nseats != b.nseats:
        return False
    for i in range(a.nseats):
        if (
            a.seats[i].identity != b.seats[i].identity
            or a.seats[i].weight != b.seats[i].weight
            or a.seats[i].slot != b.seats[i].slot
        ):
            return False
    return True
