# The memory that the supervisor and all workers share: one mapping, fixed layout, fixed-size records.
#
#   page 0        RegionHeader (magic, version, layout; whoever attaches checks it)
#   group lines   GroupLine[MAX_GROUPS]
#   server lines  ServerLine[MAX_SERVERS]
#   owners        uint32_t[MAX_SERVERS]: group of a server + 1; a change of the server bumps its group's epoch too
#   breakers      BreakerLine[MAX_SERVERS + MAX_GROUPS]: of servers, then of backends
#   workers       WorkerLine[slots]
#   ledgers       uint32_t[slots][MAX_SERVERS]: requests in flight that worker w counted on server s
#   held          GroupHeld[slots][MAX_GROUPS]: likewise what worker w counted on backend g
#   counters      uint64_t[slots][frontends | groups | servers][BLOCK]: written by one worker, summed by the reader;
#                 a block is COUNTERS counters, then HISTOGRAMS histograms of BUCKETS buckets
#   rates         RateSlot[RATE_SLOTS], one table for all rate limits
#   sticks        StickBucket[STICK_BUCKETS]: runs of them are stick tables (fastlb/control/slots.py)
#   locks         uint32_t[LOCKS]: worker + 1 that is inserting a key which hashes there, 0 = nobody
#   limits        what limits count: limit_tables.pxd
#
# Sections begin on page boundaries and untouched pages cost nothing, so the limits can be generous.
# Pointers that the accessors return live as long as the Region: who keeps one keeps a reference to the Region.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastlb._core.histogram cimport BUCKETS, Mark
from fastlb._core.limit_tables cimport LimitTables
from fastlb._core.shared cimport BreakerLine, GroupHeld, GroupLine, RateSlot, ServerLine, StickBucket

cdef enum:
    MAX_FRONTENDS = 1024
    MAX_GROUPS = 4096
    MAX_SERVERS = 65536
    MAX_SLOTS = 512             # workers
    COUNTERS = 56               # of a block
    HISTOGRAMS = 4              # of a block: queue, connect, response, total
    BLOCK = COUNTERS + HISTOGRAMS * BUCKETS
    STICK_BUCKETS = 1 << 17     # eight entries each, 64 MB when all are in use
    LOCKS = 1024
    RATE_SLOTS = 1 << 20        # keys of rate limits, 16 MB when all are in use; a power of two
    # The counters (names in fastlb/engine/stats.pxd) that are gauges, a bit each: current 1, queued 21, idle 28,
    # open 30, retrying 31. They say what is true now, not what has happened: a dead worker's are zeroed when it is
    # reaped. Its other counters stay, and its successor in the slot counts on from them, so that totals never go back.
    RETRYING = 31
    GAUGES = 0xD0200002

# One worker (64 bytes). Written by that worker; `pid` also by the supervisor.
ctypedef struct WorkerLine:
    uint64_t beat_ms            # CLOCK_MONOTONIC of the last beat, milliseconds
    uint64_t beats              # goes up at each beat
    uint32_t pid
    uint32_t state              # WORKER_*
    uint32_t connections        # clients open now
    uint32_t generation         # of the configuration it runs
    uint64_t spare[4]

cdef enum:
    WORKER_NONE = 0
    WORKER_STARTING = 1
    WORKER_READY = 2
    WORKER_DRAINING = 3

ctypedef struct RegionHeader:
    uint64_t magic
    uint32_t version
    uint32_t slots
    uint64_t size
    uint32_t groups
    uint32_t servers
    uint32_t frontends
    uint32_t counters
    # One above the highest index used so far; they bound every sweep, because even reading a hole of a shared mapping
    # allocates its page. Written by the supervisor.
    uint32_t servers_high
    uint32_t groups_high
    uint32_t frontends_high
    uint32_t slots_high
    uint8_t secret[32]          # random: signs what need not outlive the region


# The buckets of one histogram as they stood at some moment.
cdef class Region:
    cdef:
        uint8_t* _base          # the mapping; NULL only before create()/attach() is done
        size_t _size
        GroupLine* _groups
        ServerLine* _servers
        uint32_t* _owners
        BreakerLine* _breakers
        WorkerLine* _workers
        uint32_t* _ledgers
        GroupHeld* _held
        uint64_t* _counters
        RateSlot* _rates
        StickBucket* _sticks
        uint32_t* _locks
        LimitTables limits
        size_t _shard           # counters of one worker, in uint64_t
        readonly int fd         # of the memfd, -1 when private; owned by the Region
        readonly int slots      # worker shards

    # C accessors: no bounds check, the indices come from an Assignment.
    cdef inline GroupLine* group(self, int group) noexcept nogil:
        return &self._groups[group]

    cdef inline ServerLine* server(self, int server) noexcept nogil:
        return &self._servers[server]

    cdef inline BreakerLine* server_breaker(self, int server) noexcept nogil:
        return &self._breakers[server]

    cdef inline BreakerLine* group_breaker(self, int group) noexcept nogil:
        return &self._breakers[MAX_SERVERS + group]

    cdef inline uint32_t* ledger(self, int worker, int server) noexcept nogil:
        return &self._ledgers[<size_t>worker * MAX_SERVERS + server]

    cdef inline GroupHeld* held(self, int worker, int group) noexcept nogil:
        return &self._held[<size_t>worker * MAX_GROUPS + group]

    cdef inline const uint32_t* slots_in_use(self) noexcept nogil:
        return &(<RegionHeader*>self._base).slots_high

    cdef inline RateSlot* rates(self) noexcept nogil:
        return self._rates

    cdef inline StickBucket* sticks(self, uint32_t first) noexcept nogil:
        return &self._sticks[first]

    cdef inline uint32_t* locks(self) noexcept nogil:
        return self._locks

    cdef inline WorkerLine* worker(self, int worker) noexcept nogil:
        return &self._workers[worker]

    cdef inline uint64_t* frontend_counters(self, int worker, int frontend) noexcept nogil:
        return &self._counters[worker * self._shard + <size_t>frontend * BLOCK]

    cdef inline uint64_t* group_counters(self, int worker, int group) noexcept nogil:
        return &self._counters[worker * self._shard + (MAX_FRONTENDS + <size_t>group) * BLOCK]

    cdef inline uint64_t* server_counters(self, int worker, int server) noexcept nogil:
        return &self._counters[worker * self._shard + (MAX_FRONTENDS + MAX_GROUPS + <size_t>server) * BLOCK]

    cdef _map(self, int fd, size_t size)
    cdef _lay_out(self, int slots)
    cdef RegionHeader* _header(self) noexcept
    cdef int _server_index(self, object server) except -1
    cdef int _group_index(self, object group) except -1
    cdef int _slot_index(self, object worker) except -1
    cdef void _bump(self, int server) noexcept
    cdef int _frontend_index(self, object frontend) except -1
    cdef void _zero_gauges(self, uint64_t* counters) noexcept
    cdef void _wipe(self, size_t block) noexcept
    cdef void _add_up(self, size_t block, int first, int n, uint64_t* sums) noexcept
    cdef list _sum(self, size_t block, int first, int n)
    cdef int _histogram(self, object kind, object index, object which, uint64_t* buckets) except -1
    cdef size_t _block(self, object kind, object index) except? 0
