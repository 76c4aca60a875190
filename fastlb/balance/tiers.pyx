"""Tiers of servers: which of a set take part now.

A server is *usable* when it is up, not drained, not in maintenance, not ejected, its circuit breaker is not open and it
has a weight. It is *eligible* when only its health stands against it. The primaries that are usable serve; only when
there is none do the backups.
When neither backups can help nor enough primaries are left (`panic`, a share of the eligible ones), health is
disbelieved and all eligible primaries serve: overloading the last survivor helps nobody (Envoy calls it panic mode,
threshold 50 %). With nobody usable anywhere, panic means all eligible servers of both tiers. A circuit breaker stands
against panic too: what it keeps away is load. A server whose breaker is half open takes part for the few requests that
are permitted, but its tier does not count on it.

Primaries may stand in several tiers. Then the load spills from each to the next in proportion to how many of its
servers are well (spillover.pyx), and panic is each tier's own: looked at only while the tiers together cannot carry
everything. When all tiers panic they share by how many servers they have.
"""

from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from fastlb._core.atomics cimport fl_load32
from fastlb._core.shared cimport SERVER_DRAIN, SERVER_EJECTED, SERVER_MAINT, SERVER_OPEN, SERVER_TRIAL, SERVER_UP
from fastlb.balance.base cimport ALL_TIERS, BACKUP_TIER, FULL_RAMP, Member, Seat, Slot
from fastlb.balance.spillover cimport apportion, spread_load

from typing import NamedTuple

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

# Servers by tier.
ctypedef struct Count:
    uint32_t[ALL_TIERS] usable
    uint32_t[ALL_TIERS] eligible
    uint32_t[ALL_TIERS] wanted          # by the operator: eligible, or kept out by a circuit breaker


cdef inline void _read(Slot* slot, Count* count) noexcept:
    """Copies what the record says now, and counts it."""
    slot.weight = min(fl_load32(&slot.line.weight), <uint32_t>65535)
    slot.ramp = fl_load32(&slot.line.ramp)
    if slot.ramp == 0 or slot.ramp > FULL_RAMP:
        slot.ramp = FULL_RAMP           # never written, or nonsense: no slow start
    _judge(slot, fl_load32(&slot.line.state), count)


cdef inline void _judge(Slot* slot, uint32_t state, Count* count) noexcept:
    cdef bint wanted
    wanted = slot.weight > 0 and not state & (SERVER_DRAIN | SERVER_MAINT)
    slot.eligible = wanted and not state & SERVER_OPEN
    slot.usable = slot.eligible and state & SERVER_UP and not state & SERVER_EJECTED
    slot.trial = slot.usable and state & SERVER_TRIAL
    count.wanted[slot.tier] += wanted
    count.eligible[slot.tier] += slot.eligible
    count.usable[slot.tier] += slot.usable and not slot.trial


cdef void plan_tiers(ServerSet servers, double panic, uint32_t over, Plan* plan) noexcept:
    cdef Count count
    cdef uint32_t i
    memset(&count, 0, sizeof(Count))
    for i in range(servers.count):
        _read(&servers.slots[i], &count)
    _plan(&count, panic, over, plan)


cdef void _plan(const Count* count, double panic, uint32_t over, Plan* plan) noexcept:
    cdef uint32_t tiers = 0
    cdef int t, tier = 0
    memset(plan, 0, sizeof(Plan))
    for t in range(BACKUP_TIER):
        if count.wanted[t]:
            tiers += 1
            tier = t
    if tiers > 1:
        _plan_several(count, panic, over, plan)
    else:
        _plan_one(count, panic, tier, plan)
    tiers = 0
    plan.lead = -1
    for t in range(ALL_TIERS):
        if plan.used[t]:
            tiers += 1
            if plan.lead < 0:
                plan.lead = t
    plan.spills = tiers > 1 and plan.load[plan.lead] > 0


cdef void _plan_one(const Count* count, double panic, int tier, Plan* plan) noexcept:
    """Primaries of one tier, and backups."""
    if count.usable[tier] == 0 and count.usable[BACKUP_TIER] > 0:
        plan.used[BACKUP_TIER] = True
        return
    plan.used[tier] = True
    if count.usable[BACKUP_TIER] == 0 and panic > 0:
        plan.panic[tier] = count.usable[tier] < panic * count.eligible[tier]
        if count.usable[tier] == 0:     # nobody anywhere
            plan.used[BACKUP_TIER] = plan.panic[BACKUP_TIER] = plan.panic[tier] = True


cdef void _plan_several(const Count* count, double panic, uint32_t over, Plan* plan) noexcept:
    """Primaries of several tiers, which share, and backups."""
    cdef uint32_t total = spread_load(count.usable, count.wanted, BACKUP_TIER, over, plan.load)
    cdef bint calm = False
    cdef uint32_t usable = 0
    cdef int t
    for t in range(BACKUP_TIER):
        usable += count.usable[t]
    if usable == 0 and count.usable[BACKUP_TIER] > 0:
        plan.used[BACKUP_TIER] = True
        return
    if total < 100 and count.usable[BACKUP_TIER] == 0 and panic > 0:
        for t in range(BACKUP_TIER):
            plan.panic[t] = count.usable[t] < panic * count.eligible[t]
            if count.eligible[t] and not plan.panic[t]:
                calm = True
        if not calm:
            plan.panic[BACKUP_TIER] = usable == 0
            apportion(count.eligible, ALL_TIERS if usable == 0 else BACKUP_TIER, plan.load)
    for t in range(ALL_TIERS):
        plan.used[t] = plan.load[t] > 0
    if total == 0 and usable:           # so few of so many that no percent is left of them
        for t in range(BACKUP_TIER):
            plan.used[t] = count.usable[t] > 0
            plan.load[t] = 0


cdef View* build_view(ServerSet servers, const Plan* plan, int tier) noexcept:
    cdef uint32_t i, n = servers.count
    cdef Slot* slot
    cdef View* view = <View*>calloc(1, sizeof(View))
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
    view.spills = plan.spills and tier < 0
    for i in range(n):
        slot = &servers.slots[i]
        view.member_of[i] = -1
        if plan.used[slot.tier]:
            if tier < 0 or tier == slot.tier:
                _place(view, slot, i, plan.panic[slot.tier])
        elif slot.trial and (tier < 0 or tier == plan.lead):
            _place(view, slot, i, False)        # whoever is in use must bring it its few requests
    return view


cdef inline void _place(View* view, Slot* slot, uint32_t i, bint failopen) noexcept:
    """Enters one slot into the picture."""
    cdef Member* member
    cdef Seat* seat
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


class Standing(NamedTuple):
    """How a backend's tiers stand; `BACKUP` is the number of the backups'."""

    usable: int                 # servers that are well, of the tiers in use
    eligible: int               # those that health alone keeps away, too
    panic: bool                 # of some tier in use all servers take part, well or not
    loads: dict[int, int]       # percent by tier in use


BACKUP = BACKUP_TIER


def standing_of(servers, double panic, double overprovisioning):
    """What workers make of these servers: an iterable of (tier, flags of state, weight). O(n)."""
    cdef Count count
    cdef Plan plan
    cdef Slot slot
    cdef int t
    memset(&count, 0, sizeof(Count))
    memset(&slot, 0, sizeof(Slot))
    for tier, state, weight in servers:
        if not 0 <= tier < ALL_TIERS:
            raise ValueError(f"no tier {tier}")
        slot.tier, slot.weight = tier, weight
        _judge(&slot, state, &count)
    _plan(&count, panic, <uint32_t>(overprovisioning * 100 + 0.5), &plan)
    used = [t for t in range(ALL_TIERS) if plan.used[t]]
    return Standing(
        sum([count.usable[t] for t in used]),
        sum([count.eligible[t] for t in used]),
        any([plan.panic[t] and count.eligible[t] for t in used]),
        {t: plan.load[t] if plan.spills else 100 for t in used},
    )
