"""A selector driven from Python, with everything the engine may ask of it: for tests and simulations.

The records lie in memory handed in (a shared mmap, so that several processes can run on the same group, each with its
own Probe) or in private memory. Not for production use: slots are plain integers and nothing is checked but indices.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fastlb._core.atomics cimport fl_add32, fl_load32, fl_load64, fl_store32
from fastlb._core.shared cimport (
    SERVER_DRAIN, SERVER_EJECTED, SERVER_MAINT, SERVER_OPEN, SERVER_TRIAL, SERVER_UP, BreakerLine, GroupLine,
    ServerLine)
from fastlb.balance.base cimport FULL_RAMP, ServerSet, reclaim, tier_of
from fastlb.balance.circuit_breaker cimport (
    PERMIT_NONE, PERMIT_TRIAL, GroupBreaker, ServerBreakers, breaker_state, breaker_tick, breaker_until, read_rules)
from fastlb.balance.selector cimport PICK_FULL, PICK_NONE, USE_CANCELLED, USE_FAILED, USE_OK, Selector, make_selector

NONE, FULL = PICK_NONE, PICK_FULL
OK, FAILED, CANCELLED = USE_OK, USE_FAILED, USE_CANCELLED
UP, DRAIN, MAINT, EJECTED = SERVER_UP, SERVER_DRAIN, SERVER_MAINT, SERVER_EJECTED
RAMP = FULL_RAMP
OPEN, TRIAL = SERVER_OPEN, SERVER_TRIAL
STATES = ("closed", "open", "half-open")
BREAKER_SIZE = sizeof(BreakerLine)


def memory_size(int servers, int workers):
    """Bytes of shared memory that a group needs: its record, one a server, a ledger cell a worker and server,
    and its servers' circuit breakers."""
    return sizeof(GroupLine) + servers * sizeof(ServerLine) + workers * servers * sizeof(uint32_t) \
        + servers * sizeof(BreakerLine) + 64


def _tier(what=0):
    """True = a backup, else the number of a tier."""
    return tier_of(what is True, what)


cdef class Probe:
    """One process's selector over `servers`, a list of (name, weight), (name, weight, backup) or (.., .., tier).

    `memory` is a zeroed writable buffer of `memory_size` bytes that other processes may hold too; `first` says whether
    this one writes weights and states into it.
    """

    cdef:
        ServerSet _set
        Selector _selector
        uint8_t[::1] _memory
        GroupLine* _group
        ServerLine* _lines
        uint32_t* _ledgers
        BreakerLine* _breakers
        ServerBreakers _guards
        int _n

    def __init__(self, str algorithm, list servers, *, memory=None, int worker=0, int workers=1, bint first=True,
                 bint shared=True, **options):
        cdef int i
        self._n = len(servers)
        self._memory = memory if memory is not None else bytearray(memory_size(self._n, workers))
        if self._memory.shape[0] < memory_size(self._n, workers) or not 0 <= worker < workers:
            raise ValueError("too little memory, or no such worker")
        self._group = <GroupLine*>&self._memory[0]
        self._lines = <ServerLine*>(self._group + 1)
        self._ledgers = <uint32_t*>(self._lines + self._n)
        self._breakers = <BreakerLine*>(((<size_t>(self._ledgers + workers * self._n)) + 7) & ~<size_t>7)
        self._set = ServerSet(shared=shared)
        self._set.attach_group(self._group)
        for i, (name, weight, *tier) in enumerate(servers):
            if first:
                self._lines[i].state = SERVER_UP
                self._lines[i].weight = weight
                self._lines[i].ramp = FULL_RAMP
            self._set.attach(i, &self._lines[i], &self._ledgers[worker * self._n + i], _tier(*tier))
            self._set.identify(i, name)
        self._selector = make_selector(algorithm, options, self._set)

    def guard(self, rules):
        """Puts circuit breakers around the servers: `rules` is a CircuitBreaker of the Spec."""
        cdef int i
        self._guards = ServerBreakers(self._set)
        read_rules(&self._guards.rules, rules)
        for i in range(self._n):
            self._guards.lines[i] = &self._breakers[i]
        self._selector.guard(self._guards)

    def permit(self):
        """What the last select took; 0 = nothing that must be brought back."""
        permit, self._selector.permit = self._selector.permit, PERMIT_NONE
        return permit

    def ended(self, int slot, *, uint32_t permit=0, bint failed=False, uint32_t latency_us=0, uint64_t now_ms=0):
        """Tells the circuit breaker how a use ended."""
        self._line(slot)
        self._guards.ended(slot, permit, failed, latency_us, now_ms)

    def returned(self, int slot, uint32_t permit):
        """Brings a permit back."""
        self._line(slot)
        self._guards.returned(slot, permit)

    def breaker(self, int slot):
        """State of the slot's circuit breaker."""
        self._line(slot)
        return STATES[breaker_state(fl_load64(&self._breakers[slot].word))]

    cdef ServerLine* _line(self, int slot) except NULL:
        if not 0 <= slot < self._n:
            raise IndexError(slot)
        return &self._lines[slot]

    def select(self, key=None, tried=(), uint64_t now_ms=0):
        """Slot taken, or NONE or FULL. `key` is the hash of a key, an integer."""
        cdef int32_t[4] slots
        cdef int i, n = len(tried)
        for i in range(n):
            slots[i] = tried[i]
        return self._selector.select(0 if key is None else key, key is not None, slots, n, now_ms)

    def select_many(self, int times):
        """`times` slots taken one after the other without a key."""
        return [self._selector.select(0, False, NULL, 0, 0) for _ in range(times)]

    def release(self, int slot, int use=USE_OK, uint32_t latency_us=0, uint64_t now_ms=0):
        """Ends one use of the slot."""
        self._line(slot)
        self._selector.release(slot, use, latency_us, now_ms)

    def take(self, int slot):
        """Takes this slot; False when it may not be."""
        return self._selector.take(slot)

    def usable(self, int slot):
        """What the engine is told."""
        self._line(slot)
        return self._selector.usable(slot)

    def read(self, int slot):
        """The fields of the slot's record."""
        cdef ServerLine* line = self._line(slot)
        return {
            "inflight": fl_load32(&line.inflight), "limit": line.limit, "latency": fl_load64(&line.latency),
            "failures_in_a_row": line.failures_in_a_row, "state": line.state, "weight": line.weight,
            "ramp": line.ramp, "picks": fl_load64(&line.picks), "failures": fl_load64(&line.failures),
        }  # fmt: skip

    def write(self, int slot, *, weight=None, state=None, ramp=None, limit=None, inflight=None):
        """Changes fields as the supervisor does, and moves the epochs on."""
        cdef ServerLine* line = self._line(slot)
        if weight is not None:
            fl_store32(&line.weight, weight)
        if state is not None:
            fl_store32(&line.state, state)
        if ramp is not None:
            fl_store32(&line.ramp, ramp)
        if limit is not None:
            fl_store32(&line.limit, limit)
        if inflight is not None:
            fl_store32(&line.inflight, inflight)
        fl_add32(&line.epoch, 1)
        fl_add32(&self._group.epoch, 1)

    @property
    def algorithm(self):
        """The algorithm itself."""
        return self._selector.algorithm

    def ledger(self, int worker):
        """The row of one worker."""
        return [self._ledgers[worker * self._n + i] for i in range(self._n)]

    def reclaim(self, int worker):
        """Gives back what a dead worker had in flight."""
        cdef int i
        for i in range(self._n):
            reclaim(&self._lines[i], &self._ledgers[worker * self._n + i])


cdef class BreakerProbe:
    """One circuit breaker driven from Python, with a time of one's own. `memory`: BREAKER_SIZE zeroed bytes that other
    processes may hold too; `rules` is a CircuitBreaker of the Spec."""

    cdef:
        GroupBreaker _breaker
        uint8_t[::1] _memory

    def __init__(self, rules, memory=None):
        self._memory = memory if memory is not None else bytearray(BREAKER_SIZE)
        if self._memory.shape[0] < <Py_ssize_t>BREAKER_SIZE:
            raise ValueError("too little memory")
        self._breaker = GroupBreaker()
        self._breaker.line = <BreakerLine*>&self._memory[0]
        read_rules(&self._breaker.rules, rules)

    def admit(self, uint64_t now_ms):
        """0 = refused, 1 = free, else a permit."""
        return self._breaker.admit(now_ms)

    def ended(self, uint32_t permit, uint64_t now_ms, *, bint failed=False, uint32_t latency_us=0):
        """One that was admitted has ended."""
        self._breaker.ended(permit, failed, latency_us, now_ms)

    def returned(self, uint32_t permit):
        """Likewise, without saying anything."""
        self._breaker.returned(permit)

    def tick(self, uint64_t now_ms):
        """Does what is due; whether that changed the state."""
        return breaker_tick(self._breaker.line, &self._breaker.rules, now_ms)

    def run(self, uint64_t now_ms, *, int good=0, int bad=0):
        """So many requests that are let through, good ones first; how many were."""
        cdef int i, passed = 0
        cdef uint32_t permit
        for i in range(good + bad):
            permit = self._breaker.admit(now_ms)
            if permit:
                passed += 1
                self._breaker.ended(permit, i >= good, 0, now_ms)
        return passed

    @property
    def state(self):
        """closed, open or half-open."""
        return STATES[breaker_state(fl_load64(&self._breaker.line.word))]

    @property
    def until(self):
        """Milliseconds at which the state has an end; 0 = none yet."""
        return breaker_until(fl_load64(&self._breaker.line.word))

    @property
    def opened(self):
        """Times it opened."""
        return fl_load64(&self._breaker.line.opened)

    def retry_after(self, uint64_t now_ms):
        """Seconds until something may pass."""
        return self._breaker.retry_after(now_ms)


def is_trial(uint32_t permit):
    """Whether a permit is one of a half-open period."""
    return bool(permit & PERMIT_TRIAL)
