# The two sides of every algorithm: the servers it chooses among (ServerSet, and the View made of it at each rebuild)
# and the contract it fulfils (Algorithm). Everything that is true of all algorithms is in selector.pyx, not here.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fastlb._core.atomics cimport fl_acquire32, fl_load32
from fastlb._core.shared cimport GroupLine, ServerLine

cdef enum:
    MAX_SERVERS = 65535         # a group; slots fit 16 bits, which halves the hash tables
    FULL_RAMP = 65536           # ServerLine.ramp without slow start
    MAX_TIERS = 8               # of primaries; the backups are one more, after all others
    BACKUP_TIER = MAX_TIERS
    ALL_TIERS = MAX_TIERS + 1

# One slot of a set. The pointers are the owner's; the rest is this process's copy as of the last rebuild.
ctypedef struct Slot:
    ServerLine* line
    uint32_t* ledger            # in flight from this process; written by nobody else
    void* object                # of the owner, or NULL; only ever prefetched
    uint64_t identity           # hash of the server's name: the same in all processes and after every reload
    uint32_t weight             # configured; 0 = drained
    uint32_t ramp               # 1..FULL_RAMP
    uint8_t tier                # 0-7 in the order in which they are filled, or BACKUP_TIER
    uint8_t trial               # its circuit breaker is half open: takes part, but its tier does not count on it
    uint8_t usable              # up, not drained, weight above 0
    uint8_t eligible            # like usable, but possibly down or ejected: what panic mode falls back on

# One server that may be picked now. Arrays of these are dense, in slot order, 32 bytes each: what a choice needs to
# know of a candidate is one cache line.
ctypedef struct Member:
    ServerLine* line
    void* object                # Slot.object
    uint32_t weight             # configured weight * ramp: 16 fractional bits
    int32_t slot
    uint32_t load               # copy of line.inflight, kept only where no other process changes that
    uint32_t trial              # Slot.trial

# One server of the tier in use whether it may be picked now or not: what hash tables are made of, so that they need not
# change (nor move other keys) when a server goes down and comes back.
ctypedef struct Seat:
    uint64_t identity
    uint32_t weight             # configured
    uint32_t ramp
    int32_t slot
    int32_t member              # index into View.members, -1 = not now

# One consistent picture of the set; immutable but for Seat.member and Seat.ramp, replaced as a whole.
ctypedef struct View:
    Member* members
    Seat* seats
    uint64_t* ticket            # counts the picks in turn: the group's, or the tier's own where several are in use
    int32_t* member_of          # by slot, -1 = not a member
    uint32_t n                  # members
    uint32_t nseats
    uint32_t nslots
    bint equal                  # all members have the same weight
    bint ramping                # some member is in slow start
    bint trial                  # some member's circuit breaker is half open
    bint spills                 # members of several tiers, each of which takes its part of the load

# One question. `attempt` counts the answers already refused (server full, tried, over its bound).
ctypedef struct Ask:
    uint64_t key
    uint64_t now_ms
    const int32_t* tried
    int ntried
    int attempt

cdef class ServerSet:
    cdef:
        readonly uint32_t count         # slots in use
        readonly bint shared            # others change the lines too: atomics, no private copies of their counters
        bint spare_ledgers              # all ledger cells are the spare words of their lines
        uint32_t version                # changes of the set itself; the group's epoch counts those of its records
        list names                      # by slot; str, '' = none given
        Slot* slots
        uint32_t _capacity
        GroupLine* group                # of the owner, or _own_group
        GroupLine _own_group
        ServerLine* _free               # private lines, chained through ServerLine.latency
        ServerLine* _blocks             # what _free was cut from, chained likewise through the first line of each

    # Memory of others; the caller keeps it alive as long as the set. `slot` is the next one (count) or one in use,
    # `tier` as in Slot. A NULL ledger is replaced by the spare word of the line, in a set that is not shared. 0, or -1
    # with an exception.
    cdef int attach(self, int slot, ServerLine* line, uint32_t* ledger, int tier) except -1
    cdef int attach_group(self, GroupLine* group) except -1
    # The name that consistent hashing knows the server by (its address); without one it is the slot number.
    cdef int identify(self, int slot, str name) except -1
    # A zeroed line of the set's own memory, state up, weight 1; given back when nothing can release into it any more.
    cdef ServerLine* new_line(self) except NULL
    cdef void free_line(self, ServerLine* line) noexcept
    # Takes the slot out; the slots above move down by one.
    cdef int detach(self, int slot) except -1
    # Says that the set, or a record that no group epoch speaks for, changed: selectors rebuild at their next use.
    cdef inline void touch(self) noexcept:
        self.version += 1

    # What selectors compare to know that their picture is old.
    cdef inline uint32_t epoch(self) noexcept:
        return fl_acquire32(&self.group.epoch) + self.version

cdef class Algorithm:
    cdef:
        View* view              # the selector's; set by rebuild
        readonly bint keyed     # needs a key; without one round robin answers
        readonly bint tracks    # wants took() and gave() (private sets only)
        readonly bint timed     # reads Ask.now_ms
        readonly int attempts   # refused answers after which the selector searches by itself
    # Cold. Builds from `view` and then adopts it; on an exception (memory) nothing has changed. Runs no Python code
    # between the first change and the last, so no other thread can see half of it.
    cdef int rebuild(self, ServerSet servers, View* view) except -1
    # Hot. Index into view.members of the next candidate, or -1 for none of its own. view.n > 0.
    cdef int pick(self, Ask* ask) noexcept
    # Hot, when `tracks`: requests in flight on the member went up or down by one.
    cdef void took(self, int member) noexcept
    cdef void gave(self, int member) noexcept
    # Hot. The key of what a caller hashes: XXH3-64, unless the algorithm has a hash of its own (ip_hash, of 4 or 16
    # octets).
    cdef uint64_t key_of(self, const void* data, size_t size) noexcept
    # Hot. A response head came after latency_us > 0.
    cdef void observe(self, ServerLine* line, uint32_t latency_us, uint64_t now_ms) noexcept

# Weight of a member in sixteenths: what orders of whole turns (round robin) are made of, coarse on purpose so that slow
# start does not make their period long.
cdef inline uint32_t turns(const Member* member) noexcept nogil:
    return member.weight >> 12 if member.weight >> 12 else 1

# The tier of a server as it is configured.
cdef inline int tier_of(bint backup, int tier) noexcept:
    return BACKUP_TIER if backup else tier

# Requests in flight on a member; `shared` is ServerSet.shared.
cdef inline uint32_t load_of(const Member* member, bint shared) noexcept nogil:
    return fl_load32(&member.line.inflight) if shared else member.load

# True when slot is one of tried[0:ntried].
cdef inline bint was_tried(const int32_t* tried, int ntried, int32_t slot) noexcept nogil:
    cdef int i
    for i in range(ntried):
        if tried[i] == slot:
            return True
    return False

# The limit in force: slow start holds it back as it does the weight; 0 = unlimited.
cdef inline uint32_t limit_of(const ServerLine* line) noexcept nogil:
    cdef uint32_t limit = line.limit
    cdef uint32_t part
    if limit == 0 or line.ramp == 0 or line.ramp >= FULL_RAMP:
        return limit
    part = <uint32_t>((<uint64_t>limit * line.ramp) >> 16)
    return part if part else 1

# Gives back what a dead process had in flight on a server and clears its ledger cell. For the one who owns the region.
cdef void reclaim(ServerLine* line, uint32_t* ledger) noexcept nogil
