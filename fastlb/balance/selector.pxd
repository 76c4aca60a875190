# What the engine uses of the balancing core: one Selector a backend. Tiers, health, limits, slow start, bounded load
# and panic mode are decided here, around one algorithm (base.pxd), and nowhere else.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastlb._core.shared cimport ServerLine
from fastlb.balance.base cimport Algorithm, Ask, Member, ServerSet, View
from fastlb.balance.circuit_breaker cimport ServerBreakers
from fastlb.balance.tiers cimport Plan

cdef enum Pick:
    PICK_NONE = -1              # nobody can take it: all down, drained or tried
    PICK_FULL = -2              # somebody is up, but everyone who is has reached its limit: queue

# How one use of a server ended, for release().
cdef enum Use:
    USE_OK = 0
    USE_FAILED = 1              # connect error, reset, timeout, malformed or 5xx gateway answer
    USE_CANCELLED = 2           # the client left, or the use was given back: says nothing about the server

cdef class Selector:
    cdef:
        readonly ServerSet servers
        readonly Algorithm algorithm
        Algorithm _keyless      # answers in place of a keyed algorithm when there is no key
        View* _view             # never NULL once made
        View* _built            # what the algorithm was built from: _view, or an older one while _view is empty
        uint32_t _epoch         # of the set when _view was built
        bint _shared            # copies of flags of the set and the algorithm
        bint _keyed
        bint _tracks
        bint _rebuilding
        bint _trial             # some member's circuit breaker is half open, and there are breakers to ask
        uint64_t _wake_ms       # when a circuit breaker is due; 0 = none is
        uint64_t _now_ms        # of the last select or release
        ServerBreakers breakers     # None = none
        uint32_t permit         # of the select before, where there are breakers; the caller takes it and clears it
        bint _plain             # a candidate needs no check but its limit
        double _panic
        # several tiers in use (tiers.pyx): one more selector for each, which chooses among its servers alone
        uint32_t _over          # overprovisioning factor in percent
        int _tier               # that tier; -1 in the selector of the whole set
        list _tiers             # the selectors by tier, None = not made yet; None as long as there was no need
        tuple _made_of          # algorithm and options, to make them
        uint8_t[100] _tier_at   # by percent
        uint64_t _ticket        # View.ticket of a tier: in this process alone
        uint32_t _position      # requests without a key that were divided
        # bounded load (bounded_load.pyx); _bound is the factor in percent, 0 = off
        uint32_t _bound
        uint64_t* _shares       # weights summed up to and including each member
        uint64_t _served        # in flight on all members
        uint64_t _served_at     # now_ms of the last recount
        uint32_t _turn          # where the next search of last resort begins

    # Hot. Picks a usable server that is not among tried[0:ntried] (ntried <= 4) and takes it: in flight, ledger and
    # pick counters go up by one. `key` is the XXH3-64 of the hash key; has_key false falls back to round robin for hash
    # algorithms (weighted). Returns the slot or a Pick. Cost is the algorithm's; no Python call, no system call.
    # now_ms is CLOCK_MONOTONIC, which all processes of a machine share.
    cdef int select(self, uint64_t key, bint has_key, const int32_t* tried, int ntried, uint64_t now_ms) noexcept
    # Hot. Ends one use; latency_us = time to the response head, 0 = unknown.
    cdef void release(self, int slot, int use, uint32_t latency_us, uint64_t now_ms) noexcept
    # Hot. Requests in flight on the slot over all workers.
    cdef uint32_t inflight(self, int slot) noexcept
    # Hot. True when the slot is up and not drained.
    cdef bint usable(self, int slot) noexcept

    # Cold, though called by select when an epoch moved: looks at all records again and rebuilds the algorithm if what
    # it chooses among changed. On lack of memory the old picture stays, and the next select tries again.
    cdef void rebuild(self) noexcept
    # Takes a particular slot, as select does with its choice. False when it is at its limit or not in use now.
    cdef bint take(self, int slot) noexcept

    # Takes a slot that a client is bound to: one that is in use now, and also one that is draining or of another tier
    # as long as it is well. The slot, PICK_FULL or PICK_NONE.
    cdef int take_slot(self, int slot, uint64_t now_ms) noexcept

    cdef void _give(
        self, int slot, ServerLine* line, uint32_t* ledger, int use, uint32_t latency_us, uint64_t now_ms
    ) noexcept
    cdef int _pick_keyless(self, Ask* ask) noexcept
    cdef bint _take(self, int member) noexcept
    cdef bint _take_trial(self, Member* m, uint32_t limit) noexcept
    cdef void _due(self, uint64_t now_ms) noexcept
    # While _view.spills: which tier, then which of its servers.
    cdef int _select_spilling(
        self, uint64_t key, bint has_key, const int32_t* tried, int ntried, uint64_t now_ms
    ) noexcept
    cdef bint _divide(self, const Plan* plan) noexcept
    # Brings private copies of a server's load up to date, in the books of the tiers too. `more`: it was taken.
    cdef void _counted(self, int slot, bint more) noexcept
    # Puts circuit breakers around the servers; before the first select.
    cdef void guard(self, ServerBreakers breakers) noexcept
    cdef bint _take_apart(self, int slot) noexcept
    cdef bint _accepts(self, int member, Ask* ask, bint keyed) noexcept
    cdef int _search(self, int member, Ask* ask, bint has_key) noexcept
    cdef int _last_resort(self, Ask* ask, bint keyed) noexcept
    cdef int _other_tier(self, const int32_t* tried, int ntried, bint full) noexcept

# The selector of a backend. Raises ValueError for an unknown algorithm or option, naming the nearest valid one; options
# are those of `fastlb.balance.Balancer`, and an option whose value is None, '' or 0 is as good as not given.
cdef Selector make_selector(str algorithm, dict options, ServerSet servers)
