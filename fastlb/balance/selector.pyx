"""One backend's choice of servers: what is true of all algorithms, around one of them.

An algorithm proposes; the selector refuses what is full, was tried already, is over its bound or still in slow start
(hash algorithms; the others weigh less instead), and searches by itself when proposals run out. It keeps the
books: ledger cell, then the shared counter when taking, the other way round when releasing, so that a process killed
between the two leaves at worst a ledger that says more than the counter, which `reclaim` tolerates.
"""

from libc.stdlib cimport free

from fastlb._core.atomics cimport fl_add32, fl_add64, fl_load32, fl_store32, fl_sub32_floor
from fastlb._core.bits cimport mix64
from fastlb._core.debug cimport FL_ASSERT
from fastlb._core.shared cimport SERVER_DRAIN, SERVER_EJECTED, SERVER_MAINT, SERVER_OPEN, SERVER_TRIAL, SERVER_UP
from fastlb.balance.base cimport ALL_TIERS, FULL_RAMP, Member, Slot, limit_of, was_tried
from fastlb.balance.circuit_breaker cimport PERMIT_NONE
from fastlb.balance.bounded_load cimport served_by, share_limit, sum_shares
from fastlb.balance.options import check_options, registry
from fastlb.balance.tiers cimport Plan, build_view, free_view, plan_tiers, same_members, same_seats


cdef class Selector:
    """Picks, takes and releases servers of one set. Made by `make_selector` or inside a `Balancer`."""

    def __dealloc__(self):
        if self._built is not self._view:
            free_view(self._built)
        free_view(self._view)
        free(self._shares)

    cdef int select(self, uint64_t key, bint has_key, const int32_t* tried, int ntried, uint64_t now_ms) noexcept:
        cdef Ask ask
        cdef int i
        if self.servers.epoch() != self._epoch:
            self.rebuild()
            if self.servers.epoch() != self._epoch and not self._shared:
                return PICK_NONE        # no memory; slots may have moved, so the old picture is no help
        if self._wake_ms and now_ms >= self._wake_ms:
            self._due(now_ms)
        if self._view.n == 0:
            return self._other_tier(tried, ntried, False)
        if self._view.spills:
            return self._select_spilling(key, has_key, tried, ntried, now_ms)
        ask.key = key
        ask.now_ms = now_ms
        ask.tried = tried
        ask.ntried = ntried
        ask.attempt = 0
        self._now_ms = now_ms
        if self._keyed and not has_key:
            i = self._pick_keyless(&ask)
        else:
            i = self.algorithm.pick(&ask)
        if i >= 0 and ntried == 0 and self._plain and self._take(i):
            return self._view.members[i].slot
        return self._search(i, &ask, has_key)

    cdef void release(self, int slot, int use, uint32_t latency_us, uint64_t now_ms) noexcept:
        FL_ASSERT(<uint32_t>slot < self.servers.count, "release of a slot that is not in the set")
        cdef Slot* s = &self.servers.slots[slot]
        self._now_ms = now_ms
        self._give(slot, s.line, s.ledger, use, latency_us, now_ms)

    cdef void _give(
        self, int slot, ServerLine* line, uint32_t* ledger, int use, uint32_t latency_us, uint64_t now_ms
    ) noexcept:
        """Release with the pointers at hand."""
        cdef uint32_t mine = ledger[0]
        if not self._shared and self.servers.epoch() != self._epoch:
            self.rebuild()              # slots may have moved, and the private copies of loads must stay right
        FL_ASSERT(mine > 0, "release of a server that this process has not taken")
        if mine == 0:
            return                      # in a release build: better ignored than counted below zero
        if self._shared:
            fl_sub32_floor(&line.inflight, 1)
            fl_store32(ledger, mine - 1)
            if use == USE_OK:
                if fl_load32(&line.failures_in_a_row):
                    fl_store32(&line.failures_in_a_row, 0)
            elif use == USE_FAILED:
                fl_add32(&line.failures_in_a_row, 1)
                fl_add64(&line.failures, 1)
        else:
            ledger[0] = mine - 1
            if line.inflight:
                line.inflight -= 1
            if use == USE_OK:
                line.failures_in_a_row = 0
            elif use == USE_FAILED:
                line.failures_in_a_row += 1
                line.failures += 1
        if latency_us and use == USE_OK:
            self.algorithm.observe(line, latency_us, now_ms)
        if self._shared and not self._bound or self.servers.epoch() != self._epoch:
            return
        self._counted(slot, False)

    cdef void _counted(self, int slot, bint more) noexcept:
        cdef int member = self._view.member_of[slot]
        cdef Selector tier
        if self._view.spills:
            for tier in self._tiers:
                if tier is not None and tier._epoch == self._epoch:     # else it will count anew
                    tier._counted(slot, more)
            return
        if member < 0:
            return
        if not self._shared:
            self._view.members[member].load = self._view.members[member].line.inflight
            if self._tracks and more:
                self.algorithm.took(member)
            elif self._tracks:
                self.algorithm.gave(member)
        if self._bound and more:
            self._served += 1
        elif self._bound and self._served:
            self._served -= 1

    cdef uint32_t inflight(self, int slot) noexcept:
        return fl_load32(&self.servers.slots[slot].line.inflight)

    cdef bint usable(self, int slot) noexcept:
        cdef ServerLine* line = self.servers.slots[slot].line
        cdef uint32_t state = fl_load32(&line.state)
        return (
            state & (SERVER_UP | SERVER_DRAIN | SERVER_MAINT | SERVER_EJECTED | SERVER_OPEN) == SERVER_UP
            and fl_load32(&line.weight) > 0
        )

    cdef void rebuild(self) noexcept:
        cdef uint32_t epoch = self.servers.epoch()
        cdef uint64_t* shares = NULL
        if self.breakers is not None:
            self._wake_ms = self.breakers.next_wake()
        cdef View* old = self._view
        cdef View* view
        cdef Plan plan
        plan_tiers(self.servers, self._panic, self._over, &plan)
        view = build_view(self.servers, &plan, self._tier)
        if view is not NULL:
            # A tier that drew from the group's tickets would see only some of them, and always the same ones.
            view.ticket = &self.servers.group.ticket if self._tier < 0 else &self._ticket
        if view is NULL or self._rebuilding:    # ketama's digests are Python objects: a finalizer may pick meanwhile
            free_view(view)
            return
        if view.spills and not self._divide(&plan):
            free_view(view)
            return
        if (
            old is not NULL and same_members(old, view) and same_seats(old, view) and old.ramping == view.ramping
            and old.spills == view.spills
        ):
            # Still one thing may differ: slot numbers above a removed slot of the other tier. And while a tier was not
            # in use, nobody kept its private copies of loads.
            if old.nslots == view.nslots and (self._shared or self._tier < 0):
                free_view(view)
                self._epoch = epoch
                return
        if self._bound:
            shares = sum_shares(view)
            if shares is NULL:
                free_view(view)
                return
        self._rebuilding = True
        try:
            if view.n and not view.spills:
                self.algorithm.rebuild(self.servers, view)
        except Exception:
            free_view(view)
            free(shares)
            return
        finally:
            self._rebuilding = False
        if self._keyless is not None:
            self._keyless.view = NULL
        if view.n and not view.spills:
            if self._built is not old:
                free_view(self._built)
            free_view(old)
            self._built = view
        elif self._built is not old:
            free_view(old)
        self._view = view
        self._epoch = epoch
        self._trial = view.trial and self.breakers is not None
        self._plain = not self._bound and not (self._keyed and view.ramping)
        if self._bound:
            free(self._shares)
            self._shares = shares
            self._served = served_by(view)

    cdef bint _divide(self, const Plan* plan) noexcept:
        """Makes the selectors of the tiers in use and says which percent is whose; false without memory."""
        cdef uint32_t k, at = 0
        cdef int t
        if self._rebuilding:
            return False
        self._rebuilding = True         # the garbage collector may run, and with it anything
        try:
            if self._tiers is None:
                self._tiers = [None] * ALL_TIERS
            for t in range(ALL_TIERS):
                if plan.load[t] and self._tiers[t] is None:
                    self._tiers[t] = _make(self._made_of[0], self._made_of[1], self.servers, t, self.breakers)
        except Exception:
            return False
        finally:
            self._rebuilding = False
        for t in range(ALL_TIERS):
            for k in range(plan.load[t]):
                self._tier_at[at + k] = t
            at += plan.load[t]
        return True

    cdef int _select_spilling(
        self, uint64_t key, bint has_key, const int32_t* tried, int ntried, uint64_t now_ms
    ) noexcept:
        cdef Selector tier
        cdef Ask ask
        cdef uint64_t at
        cdef int slot
        if self._keyed and has_key:
            at = mix64(~key) % 100      # a key keeps to its tier while the loads stay
        else:
            at = self._position * 61 % 100      # each percent once in a hundred, the tiers well mixed
            self._position += 1
        tier = <Selector>self._tiers[self._tier_at[at]]
        slot = tier.select(key, has_key, tried, ntried, now_ms)
        if slot >= 0:
            if tier.permit:
                self.permit = tier.permit
                tier.permit = PERMIT_NONE
            return slot
        # That tier's are full, or were tried: any that is in use.
        self._now_ms = now_ms
        ask.key = key
        ask.now_ms = now_ms
        ask.tried = tried
        ask.ntried = ntried
        return self._last_resort(&ask, False)

    cdef bint take(self, int slot) noexcept:
        if self.servers.epoch() != self._epoch:
            self.rebuild()
        if slot < 0 or <uint32_t>slot >= self._view.nslots or self._view.member_of[slot] < 0:
            return False
        return self._take(self._view.member_of[slot])

    cdef void guard(self, ServerBreakers breakers) noexcept:
        cdef Selector tier
        self.breakers = breakers
        if self._tiers is not None:
            for tier in self._tiers:
                if tier is not None:
                    tier.guard(breakers)
        self._epoch -= 1
        self.rebuild()

    cdef void _due(self, uint64_t now_ms) noexcept:
        """A circuit breaker's time is over. The epoch moves when that changes who may be picked."""
        self.breakers.wake(now_ms)
        self._wake_ms = self.breakers.next_wake()
        if self.servers.epoch() != self._epoch:
            self.rebuild()

    cdef bint _take_trial(self, Member* m, uint32_t limit) noexcept:
        """A permit of the member's half-open circuit breaker, kept for the caller; false when there is none."""
        cdef uint32_t permit
        if limit and fl_load32(&m.line.inflight) >= limit:
            return False                # do not take one only to give it back
        permit = self.breakers.admit(m.slot, self._now_ms)
        if permit == PERMIT_NONE:
            return False
        self.permit = permit
        if self._wake_ms == 0:
            self._wake_ms = self.breakers.next_wake()       # the first trial started a time limit
        return True

    cdef int take_slot(self, int slot, uint64_t now_ms) noexcept:
        cdef ServerLine* line
        if self.servers.epoch() != self._epoch:
            self.rebuild()
        if self._wake_ms and now_ms >= self._wake_ms:
            self._due(now_ms)
        self._now_ms = now_ms
        if slot < 0 or <uint32_t>slot >= self._view.nslots:
            return PICK_NONE
        if self._view.member_of[slot] >= 0:
            return slot if self._take(self._view.member_of[slot]) else PICK_FULL
        line = self.servers.slots[slot].line
        if (fl_load32(&line.state) & (SERVER_UP | SERVER_MAINT | SERVER_EJECTED | SERVER_OPEN | SERVER_TRIAL)
                != SERVER_UP):
            return PICK_NONE
        return slot if self._take_apart(slot) else PICK_FULL

    cdef bint _take_apart(self, int slot) noexcept:
        """Books one use of a server that is no member of the picture; of a shared set only."""
        cdef Slot* s = &self.servers.slots[slot]
        cdef ServerLine* line = s.line
        cdef uint32_t limit = limit_of(line)
        fl_store32(s.ledger, s.ledger[0] + 1)
        if fl_add32(&line.inflight, 1) >= limit and limit:
            fl_sub32_floor(&line.inflight, 1)
            fl_store32(s.ledger, s.ledger[0] - 1)
            return False
        fl_add64(&line.picks, 1)
        return True

    cdef int _pick_keyless(self, Ask* ask) noexcept:
        """In place of a keyed algorithm. Built at its first use after a change: most groups never need it."""
        if self._keyless.view is not self._view:
            try:
                self._keyless.rebuild(self.servers, self._view)
            except MemoryError:
                return -1
        return self._keyless.pick(ask)

    cdef bint _take(self, int member) noexcept:
        """Books one use, or says that the server is full."""
        cdef Member* m = &self._view.members[member]
        cdef ServerLine* line = m.line
        cdef uint32_t* ledger
        cdef uint32_t limit = limit_of(line)
        if self._trial and m.trial and not self._take_trial(m, limit):
            return False
        if limit and fl_load32(&line.inflight) >= limit:
            return False
        if self._shared:
            ledger = self.servers.slots[m.slot].ledger
            fl_store32(ledger, ledger[0] + 1)
            if fl_add32(&line.inflight, 1) >= limit and limit:      # another process was faster
                fl_sub32_floor(&line.inflight, 1)
                fl_store32(ledger, ledger[0] - 1)
                if self._trial and m.trial:
                    self.breakers.returned(m.slot, self.permit)
                    self.permit = PERMIT_NONE
                return False
            fl_add64(&line.picks, 1)
        else:
            if self.servers.spare_ledgers:
                line.spare0 += 1
            else:
                self.servers.slots[m.slot].ledger[0] += 1
            line.inflight += 1
            line.picks += 1
            m.load = line.inflight
            if self._view.spills:
                self._counted(m.slot, True)
            elif self._tracks:
                self.algorithm.took(member)
        if self._bound:
            self._served += 1
        return True

    cdef bint _accepts(self, int member, Ask* ask, bint keyed) noexcept:
        """Whether a proposal may be taken, its limit apart."""
        cdef Member* m = &self._view.members[member]
        cdef uint32_t ramp
        if was_tried(ask.tried, ask.ntried, m.slot):
            return False
        if keyed and self._view.ramping:
            # A server in slow start takes a growing part of its keys; which ones depends on the key alone, so none
            # moves twice.
            ramp = m.line.ramp
            if 0 < ramp < FULL_RAMP and (mix64(ask.key ^ <uint64_t>m.slot) >> 48) >= ramp:
                return False
        if keyed and self._bound and fl_load32(&m.line.inflight) >= share_limit(
            self._shares, self._view.n, member, self._served, self._bound
        ):
            return False
        return True

    cdef int _search(self, int member, Ask* ask, bint has_key) noexcept:
        """From a refused or conditional first proposal to a slot or a Pick."""
        cdef bint keyed = self._keyed and has_key
        cdef int attempts
        if self._bound and self._shared and ask.now_ms != self._served_at:
            self._served = served_by(self._view)    # others' changes since are at most a millisecond old
            self._served_at = ask.now_ms
        attempts = self.algorithm.attempts
        while member >= 0:
            if self._accepts(member, ask, keyed) and self._take(member):
                return self._view.members[member].slot
            ask.attempt += 1
            if ask.attempt >= attempts:
                break
            if self._keyed and not has_key:
                member = self._pick_keyless(ask)
            else:
                member = self.algorithm.pick(ask)
        return self._last_resort(ask, keyed)

    cdef int _last_resort(self, Ask* ask, bint keyed) noexcept:
        """O(n): of the members that may be taken the least loaded; with a key, the first one counted from its place.

        Bounds and slow start no longer count here: they shift load, they do not refuse it.
        """
        cdef View* view = self._view
        cdef uint32_t n = view.n
        cdef uint32_t i, k, load, best_load = 0
        cdef uint32_t start
        cdef int best
        cdef Member* m
        cdef bint full = False
        start = <uint32_t>(mix64(ask.key) % n) if keyed else self._turn % n
        self._turn += 1
        for _ in range(n):           # more than once only when other processes fill the best one first
            best = -1
            for k in range(n):
                i = start + k
                if i >= n:
                    i -= n
                m = &view.members[i]
                if was_tried(ask.tried, ask.ntried, m.slot):
                    continue
                if m.trial and self._trial and not self.breakers.has_room(m.slot):
                    continue
                load = fl_load32(&m.line.inflight)
                if limit_of(m.line) and load >= limit_of(m.line):
                    full = True
                    continue
                if best < 0 or <uint64_t>load * view.members[best].weight < <uint64_t>best_load * m.weight:
                    best = i
                    best_load = load
                    if keyed:
                        break
            if best < 0:
                break
            if self._take(best):
                return view.members[best].slot
            full = True
        return self._other_tier(ask.tried, ask.ntried, full)

    cdef int _other_tier(self, const int32_t* tried, int ntried, bint full) noexcept:
        """Nobody in use can take it. When all were tried, a usable server of the other tier may (as in nginx)."""
        cdef uint32_t i
        cdef int best = -1
        cdef uint32_t load, best_load = 0
        cdef Slot* slot
        cdef ServerLine* line
        if full:
            return PICK_FULL
        if ntried == 0 or self._tier >= 0:
            return PICK_NONE
        for i in range(self._view.nslots):
            slot = &self.servers.slots[i]
            if self._view.member_of[i] >= 0 or not slot.usable or was_tried(tried, ntried, i):
                continue
            line = slot.line
            load = fl_load32(&line.inflight)
            if limit_of(line) and load >= limit_of(line):
                full = True
            elif best < 0 or <uint64_t>load * self.servers.slots[best].weight < <uint64_t>best_load * slot.weight:
                best = i
                best_load = load
        if best < 0:
            return PICK_FULL if full else PICK_NONE
        if not self._take_apart(best):
            return PICK_FULL
        return best


cdef Selector make_selector(str algorithm, dict options, ServerSet servers):
    return _make(algorithm, options, servers, -1, None)


cdef Selector _make(str algorithm, dict options, ServerSet servers, int tier, ServerBreakers breakers):
    cdef Selector selector = Selector.__new__(Selector)
    cdef dict own, common
    factory, own, common = check_options(algorithm, options)
    selector.servers = servers
    selector.algorithm = factory(own, servers.shared)
    selector._made_of = (algorithm, dict(options))
    selector._tier = tier
    selector.breakers = breakers        # before it looks at the servers: some may be on trial
    if tier >= 0 and servers.shared:
        selector._ticket = mix64(<size_t><void*>selector)       # processes begin at different places
    selector._shared = servers.shared
    selector._keyed = selector.algorithm.keyed
    selector._tracks = selector.algorithm.tracks
    if selector._keyed:
        selector._keyless = registry["weighted_round_robin"][0]({}, servers.shared)
    selector._panic = common.get("panic_threshold", 0.0)
    selector._over = <uint32_t>(common.get("overprovisioning", 1.4) * 100 + 0.5)
    selector._bound = <uint32_t>(common.get("bound", 0.0) * 100 + 0.5)
    selector.rebuild()
    if selector._view is NULL:
        raise MemoryError()
    return selector
