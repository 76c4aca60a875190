# Circuit breakers over records that several processes share: of a server, and of a whole group of servers.
from libc.stdint cimport int32_t, uint32_t, uint64_t

from fastlb._core.shared cimport BreakerLine, GroupLine, ServerLine
from fastlb.balance.base cimport ServerSet

cdef enum:
    MAX_TRIALS = 4095           # of a half-open period: 12 bits

cdef enum BreakerState:
    BREAKER_CLOSED = 0          # everything passes and is counted
    BREAKER_OPEN = 1            # nothing passes until its time is over
    BREAKER_HALF_OPEN = 2       # `trials` requests pass, and decide

# What a request was given when it was let through; what is above PERMIT_FREE is the generation of a half-open period.
cdef enum:
    PERMIT_NONE = 0             # it was not
    PERMIT_FREE = 1             # nothing to bring back
    PERMIT_TRIAL = 0x10000

# What opened a breaker.
cdef enum BreakerWhy:
    WHY_NOTHING = 0
    WHY_ERRORS = 1
    WHY_SLOW = 2
    WHY_TRIALS = 3

# Shares are ten thousandths.
ctypedef struct BreakerRules:
    uint32_t error_share        # of failed requests that opens; 0 = not judged
    uint32_t slow_share         # of slow ones; 0 = not judged
    uint32_t slow_us            # what slow is
    uint32_t min_requests       # in the window, to be judged at all
    uint32_t bucket_ms          # a tenth of the window
    uint32_t open_ms
    uint32_t trials             # 1..MAX_TRIALS
    uint32_t trial_ms           # from the first trial on: what has not ended by then counts as failed

# Hot. Whether a request may pass now: a PERMIT_*. The one that finds an open breaker's time over makes it half open.
# O(1); lock-free.
cdef uint32_t breaker_admit(BreakerLine* b, const BreakerRules* r, uint64_t now_ms) noexcept nogil
# Hot. A request that was let through has ended. True when that changed the state. O(buckets).
cdef bint breaker_ended(
    BreakerLine* b, const BreakerRules* r, uint32_t permit, bint failed, uint32_t latency_us, uint64_t now_ms
) noexcept nogil
# One ended without saying anything: its permit may be used again.
cdef void breaker_returned(BreakerLine* b, uint32_t permit) noexcept nogil
# An open breaker whose time is over becomes half open; a half-open one whose time is over is decided. True when that
# changed the state.
cdef bint breaker_tick(BreakerLine* b, const BreakerRules* r, uint64_t now_ms) noexcept nogil

cdef inline int breaker_state(uint64_t word) noexcept nogil:
    return <int>(word & 3)

cdef inline uint64_t breaker_until(uint64_t word) noexcept nogil:
    return word >> 18

# The breaker of a group as a whole.
cdef class GroupBreaker:
    cdef:
        BreakerLine* line
        BreakerRules rules
        object owner            # of the memory behind `line`
    # Hot. PERMIT_*
    cdef uint32_t admit(self, uint64_t now_ms) noexcept
    cdef void ended(self, uint32_t permit, bint failed, uint32_t latency_us, uint64_t now_ms) noexcept
    cdef void returned(self, uint32_t permit) noexcept
    # Seconds until it may let something pass, rounded up, at least 1.
    cdef uint32_t retry_after(self, uint64_t now_ms) noexcept

# The breakers of a group's servers, by slot. What the state means for choosing is flags of the ServerLine, which is how
# the other processes learn of it.
cdef class ServerBreakers:
    cdef:
        ServerSet servers
        BreakerLine** lines     # by slot
        BreakerRules rules
        object owner
    # A server that is in its half-open period may take one more request: a PERMIT_*.
    cdef uint32_t admit(self, int slot, uint64_t now_ms) noexcept
    # Whether admit would let one pass; takes nothing.
    cdef bint has_room(self, int slot) noexcept
    cdef void ended(self, int slot, uint32_t permit, bint failed, uint32_t latency_us, uint64_t now_ms) noexcept
    cdef void returned(self, int slot, uint32_t permit) noexcept
    # When the first of the open ones may be tried, or a half-open one must be decided, ms; 0 = none. O(servers).
    cdef uint64_t next_wake(self) noexcept
    # Does what is due. O(servers).
    cdef void wake(self, uint64_t now_ms) noexcept
    # Writes the flags of the server as its breaker has them.
    cdef void publish(self, int slot) noexcept
    # Seconds until the first server may be tried, rounded up, at least 1. O(servers).
    cdef uint32_t retry_after(self, uint64_t now_ms) noexcept

# From keys in seconds and shares of 1. Raises ValueError for what does not fit.
cdef int read_rules(BreakerRules* rules, object values) except -1
