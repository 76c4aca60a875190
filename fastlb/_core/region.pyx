"""Memory shared by the supervisor and all workers; see region.pxd for the layout.

The supervisor creates the region over a memfd and hands the descriptor to each worker, which attaches to it. A process
without workers uses the same records in private memory. The Python methods are for the control side: they check their
indices, and each change of a server's state, weight or ramp bumps the epoch of the server and then of its group, which
is how workers learn of it without a message.
"""

import fcntl
import os
from typing import NamedTuple

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fastlb._core.atomics cimport fl_acquire32 as fl_load32
from fastlb._core.atomics cimport fl_add32, fl_add64, fl_cas32, fl_load64, fl_store64
from fastlb._core.atomics cimport fl_publish32 as fl_store32
from fastlb._core.histogram cimport BUCKETS, Mark, bucket_of, ladder_of, quantiles_of
from fastlb._core.mapping cimport (
    CLOCK_MONOTONIC, MADV_DONTDUMP, MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_READ,
    PROT_WRITE, clock_gettime, madvise, mmap, munmap, timespec)
from fastlb._core.limit_tables cimport limit_bytes, limit_lay_out, limit_reap
from fastlb._core.net cimport close
from fastlb._core.shared cimport (
    SERVER_DRAIN, SERVER_EJECTED, SERVER_MAINT, SERVER_OPEN, SERVER_TRIAL, SERVER_UP, BreakerLine, GroupHeld,
    GroupLine, RateSlot, ServerLine, StickBucket)

cdef enum:
    PAGE = 4096
    VERSION = 5

cdef uint64_t MAGIC = 0x464153544C420001    # "FASTLB", 0, 1

UP = SERVER_UP
DRAIN = SERVER_DRAIN
MAINT = SERVER_MAINT
EJECTED = SERVER_EJECTED
OPEN = SERVER_OPEN
TRIAL = SERVER_TRIAL
FULL_RAMP = 65536
STARTING = WORKER_STARTING
READY = WORKER_READY
DRAINING = WORKER_DRAINING
GAUGE_COUNTERS = tuple(i for i in range(COUNTERS) if <uint64_t>GAUGES >> i & 1)
LIMITS = {"frontends": MAX_FRONTENDS, "groups": MAX_GROUPS, "servers": MAX_SERVERS, "slots": MAX_SLOTS,
          "stick_buckets": STICK_BUCKETS}


class WorkerStatus(NamedTuple):
    """What a worker last wrote about itself."""

    pid: int
    state: int
    beats: int
    beat_ms: int
    connections: int
    generation: int


cdef inline size_t _pages(size_t n) noexcept:
    return (n + PAGE - 1) & ~<size_t>(PAGE - 1)


cdef void _subtract(uint32_t* word, uint32_t n) noexcept:
    """Takes `n` off what several processes count in, never below 0."""
    cdef uint32_t seen = fl_load32(word)
    while not fl_cas32(word, &seen, seen - n if seen > n else 0):
        pass


cdef uint64_t _now_ms() noexcept:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000 + <uint64_t>t.tv_nsec // 1000000


cdef class Region:
    """The shared records. Made by `create` or `attach`, unmapped when the last reference goes."""

    def __cinit__(self):
        self.fd = -1

    def __init__(self):
        raise TypeError("use Region.create() or Region.attach()")

    @staticmethod
    def create(shared, int slots=1, bytes secret=b""):
        """A new region for `slots` workers (1-512), all zero; its secret is `secret` (32 bytes), or made.

        `shared` true puts it on a memfd that other processes can attach to, false in private memory.
        The file is sealed against resizing: no worker can be killed by SIGBUS through it.
        """
        if not 1 <= slots <= MAX_SLOTS:
            raise ValueError(f"slots: {slots} is not in 1..{MAX_SLOTS}")
        cdef Region self = Region.__new__(Region)
        cdef size_t size = _region_size(slots)
        if shared:
            self.fd = os.memfd_create("fastlb", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(self.fd, size)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._map(self.fd, size)
        cdef RegionHeader* header = self._header()
        header.magic = MAGIC
        header.version = VERSION
        header.slots = slots
        header.size = size
        header.groups = MAX_GROUPS
        header.servers = MAX_SERVERS
        header.frontends = MAX_FRONTENDS
        header.counters = BLOCK
        cdef bytes random = secret if len(secret) == 32 else os.urandom(32)
        memcpy(header.secret, <const char*>random, 32)
        self._lay_out(slots)
        return self

    @staticmethod
    def attach(int fd):
        """Maps the region behind `fd`, which stays open and belongs to the Region from now on.

        Raises ValueError when the file is not a region of this version of fastlb.
        """
        cdef Region self = Region.__new__(Region)
        cdef size_t size = os.fstat(fd).st_size
        if size < PAGE:
            raise ValueError("not a fastlb region: too small")
        self._map(fd, size)
        cdef RegionHeader* header = self._header()
        if header.magic != MAGIC or header.version != VERSION:
            raise ValueError("not a fastlb region of this version")
        if (
            header.size != size or not 1 <= header.slots <= MAX_SLOTS or size != _region_size(header.slots)
            or header.groups != MAX_GROUPS or header.servers != MAX_SERVERS or header.frontends != MAX_FRONTENDS
            or header.counters != BLOCK
        ):
            raise ValueError("fastlb region of another layout")
        self.fd = fd
        self._lay_out(header.slots)
        return self

    def __dealloc__(self):
        if self._base != NULL:
            munmap(self._base, self._size)
        if self.fd >= 0:
            close(self.fd)  # not os.close: at the end of the interpreter that module is gone

    cdef _map(self, int fd, size_t size):
        cdef int flags = MAP_SHARED if fd >= 0 else MAP_PRIVATE | MAP_ANONYMOUS
        cdef void* base = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0)
        if base == MAP_FAILED:
            raise MemoryError(f"cannot map {size} bytes of shared records")
        # Mostly holes: keep it out of core dumps.
        madvise(base, size, MADV_DONTDUMP)
        self._base = <uint8_t*>base
        self._size = size

    cdef _lay_out(self, int slots):
        if sizeof(ServerLine) != 64 or sizeof(GroupLine) != 64 or sizeof(WorkerLine) != 64 \
                or sizeof(BreakerLine) != 256:
            raise SystemError("a shared record is not one cache line")
        cdef uint8_t* p = self._base + PAGE
        self._groups = <GroupLine*>p
        p += _pages(sizeof(GroupLine) * MAX_GROUPS)
        self._servers = <ServerLine*>p
        p += _pages(sizeof(ServerLine) * MAX_SERVERS)
        self._owners = <uint32_t*>p
        p += _pages(sizeof(uint32_t) * MAX_SERVERS)
        self._breakers = <BreakerLine*>p
        p += _pages(sizeof(BreakerLine) * (MAX_SERVERS + MAX_GROUPS))
        self._workers = <WorkerLine*>p
        p += _pages(sizeof(WorkerLine) * slots)
        self._ledgers = <uint32_t*>p
        p += sizeof(uint32_t) * MAX_SERVERS * slots
        self._held = <GroupHeld*>p
        p += sizeof(GroupHeld) * MAX_GROUPS * slots
        self._counters = <uint64_t*>p
        p += _shard_words() * sizeof(uint64_t) * slots
        self._rates = <RateSlot*>p
        p += sizeof(RateSlot) * RATE_SLOTS
        self._sticks = <StickBucket*>p
        p += sizeof(StickBucket) * STICK_BUCKETS
        self._locks = <uint32_t*>p
        limit_lay_out(&self.limits, p + sizeof(uint32_t) * LOCKS, slots)
        self._shard = _shard_words()
        self.slots = slots

    cdef RegionHeader* _header(self) noexcept:
        return <RegionHeader*>self._base

    @property
    def secret(self):
        """32 random bytes, made with the region: for what is signed and need not be valid after a restart."""
        return (<char*>self._header().secret)[:32]

    # ---- checks of indices -------------------------------------------------------------------------------------------

    cdef int _server_index(self, object server) except -1:
        if not 0 <= server < MAX_SERVERS:
            raise IndexError(f"server {server} is not in 0..{MAX_SERVERS - 1}")
        return server

    cdef int _group_index(self, object group) except -1:
        if not 0 <= group < MAX_GROUPS:
            raise IndexError(f"group {group} is not in 0..{MAX_GROUPS - 1}")
        return group

    cdef int _slot_index(self, object worker) except -1:
        if not 0 <= worker < self.slots:
            raise IndexError(f"worker {worker} is not in 0..{self.slots - 1}")
        return worker

    cdef int _frontend_index(self, object frontend) except -1:
        if not 0 <= frontend < MAX_FRONTENDS:
            raise IndexError(f"frontend {frontend} is not in 0..{MAX_FRONTENDS - 1}")
        return frontend

    # ---- servers -----------------------------------------------------------------------------------------------------

    cdef void _bump(self, int server) noexcept:
        fl_add32(&self._servers[server].epoch, 1)
        cdef uint32_t owner = self._owners[server]
        if owner:
            fl_add32(&self._groups[owner - 1].epoch, 1)

    def assign_server(self, server, group, *, weight=1, limit=0, state=UP):
        """Gives the line to a new server of `group`: everything of an earlier holder is wiped, counters included.

        Only for an index that no worker uses (see `fastlb.control.slots`).
        """
        cdef int i = self._server_index(server)
        cdef int g = self._group_index(group)
        if not 0 <= weight <= 65535:
            raise ValueError(f"weight: {weight} is not in 0..65535")
        cdef ServerLine* line = &self._servers[i]
        cdef uint32_t epoch = line.epoch
        memset(line, 0, sizeof(ServerLine))
        line.epoch = epoch              # never goes back: a worker that remembers the old value must see a change
        line.weight = weight
        line.limit = limit
        line.state = state
        line.ramp = 65536
        self._owners[i] = g + 1
        cdef RegionHeader* header = self._header()
        cdef uint32_t w
        if header.servers_high <= <uint32_t>i:
            header.servers_high = i + 1     # never used: its ledger cells and counters are zero still
        else:
            for w in range(header.slots_high):
                fl_store32(self.ledger(w, i), 0)
            memset(&self._breakers[i], 0, sizeof(BreakerLine))
            self._wipe(MAX_FRONTENDS + MAX_GROUPS + <size_t>i)
        self._bump(i)

    def release_server(self, server):
        """Takes the line out of service (state 0) when its server left the configuration; counters stay readable."""
        cdef int i = self._server_index(server)
        fl_store32(&self._servers[i].state, 0)
        self._bump(i)

    def assign_group(self, group):
        """Gives the line to a new backend: ticket and counters start at zero, the epoch goes on."""
        cdef int g = self._group_index(group)
        cdef RegionHeader* header = self._header()
        self._groups[g].ticket = 0
        self._groups[g].retrying = 0
        self._groups[g].retries_refused = 0
        self._groups[g].requests = 0
        self._groups[g].queued = self._groups[g].limit = 0
        if header.groups_high <= <uint32_t>g:
            header.groups_high = g + 1
        else:
            memset(&self._breakers[MAX_SERVERS + g], 0, sizeof(BreakerLine))
            self._wipe(MAX_FRONTENDS + <size_t>g)
        fl_add32(&self._groups[g].epoch, 1)

    def assign_frontend(self, frontend):
        """Starts the counters of a new frontend at zero."""
        cdef int f = self._frontend_index(frontend)
        cdef RegionHeader* header = self._header()
        if header.frontends_high <= <uint32_t>f:
            header.frontends_high = f + 1
        else:
            self._wipe(f)

    def state(self, server):
        """SERVER_* flags of the server."""
        return fl_load32(&self._servers[self._server_index(server)].state)

    def change_state(self, server, *, set=0, clear=0):
        """Sets and clears flags; returns the new word. Bumps the epochs only when it changed."""
        cdef int i = self._server_index(server)
        cdef uint32_t on = set
        cdef uint32_t off = clear
        cdef uint32_t old = fl_load32(&self._servers[i].state)
        while not fl_cas32(&self._servers[i].state, &old, (old & ~off) | on):
            pass                        # a worker's circuit breaker changed it meanwhile
        if (old & ~off) | on != old:
            self._bump(i)
        return (old & ~off) | on

    def weight(self, server):
        """Weight in force, 0-65535."""
        return fl_load32(&self._servers[self._server_index(server)].weight)

    def set_weight(self, server, weight):
        """Weight, 0-65535; 0 drains."""
        cdef int i = self._server_index(server)
        if not 0 <= weight <= 65535:
            raise ValueError(f"weight: {weight} is not in 0..65535")
        if self._servers[i].weight != <uint32_t>weight:
            fl_store32(&self._servers[i].weight, weight)
            self._bump(i)

    def limit(self, server):
        """Requests allowed at once over all workers; 0 = unlimited."""
        return fl_load32(&self._servers[self._server_index(server)].limit)

    def set_limit(self, server, limit):
        """Limit of requests at once, 0 = unlimited. Bumps the epochs, because waiting requests may now go."""
        cdef int i = self._server_index(server)
        if not 0 <= limit <= 0xFFFFFFFF:
            raise ValueError(f"limit: {limit} is not in 0..4294967295")
        if self._servers[i].limit != <uint32_t>limit:
            fl_store32(&self._servers[i].limit, limit)
            self._bump(i)

    def ramp(self, server):
        """Slow-start factor in 1/65536; 65536 = full."""
        return fl_load32(&self._servers[self._server_index(server)].ramp)

    def set_ramp(self, server, ramp):
        """Slow-start factor in 1/65536, 1..65536."""
        cdef int i = self._server_index(server)
        if not 1 <= ramp <= 65536:
            raise ValueError(f"ramp: {ramp} is not in 1..65536")
        if self._servers[i].ramp != <uint32_t>ramp:
            fl_store32(&self._servers[i].ramp, ramp)
            self._bump(i)

    def epoch(self, server):
        """Goes up at each change of the server."""
        return fl_load32(&self._servers[self._server_index(server)].epoch)

    def group_epoch(self, group):
        """Goes up at each change of any server of the group, or of the set."""
        return fl_load32(&self._groups[self._group_index(group)].epoch)

    def retries_refused(self, group):
        """Further attempts that were not made because the backend's retry budget was spent."""
        return fl_load64(&self._groups[self._group_index(group)].retries_refused)

    def bump_group(self, group):
        """Announces that the set of servers of the group changed."""
        fl_add32(&self._groups[self._group_index(group)].epoch, 1)

    def inflight(self, server):
        """Requests on the server now, over all workers."""
        return fl_load32(&self._servers[self._server_index(server)].inflight)

    def failures_in_a_row(self, server):
        """Uses that failed since the last one that did not."""
        return fl_load32(&self._servers[self._server_index(server)].failures_in_a_row)

    def picks(self, server):
        """Times the server was picked."""
        return fl_load64(&self._servers[self._server_index(server)].picks)

    def failures(self, server):
        """Uses that failed."""
        return fl_load64(&self._servers[self._server_index(server)].failures)

    def reset_failures(self, server):
        """Forgets the failures in a row: they are judged, and what follows counts anew."""
        fl_store32(&self._servers[self._server_index(server)].failures_in_a_row, 0)

    def use(self, server, *, failed=False, uint32_t count=1):
        """Counts `count` uses that have ended as workers do when they take and release. For tools and tests."""
        cdef ServerLine* line = &self._servers[self._server_index(server)]
        fl_add64(&line.picks, count)
        if failed:
            fl_add64(&line.failures, count)
            fl_add32(&line.failures_in_a_row, count)
        elif count:
            fl_store32(&line.failures_in_a_row, 0)

    # ---- ledger ------------------------------------------------------------------------------------------------------

    def owned(self, worker, server):
        """Requests in flight on the server that the worker counted."""
        return fl_load32(self.ledger(self._slot_index(worker), self._server_index(server)))

    def hold(self, worker, server, int count=1):
        """Counts `count` requests (negative: gives back) as the worker would: ledger, then the shared number.

        For tools and tests; only of a worker that has begun.
        """
        cdef int w = self._slot_index(worker)
        cdef int i = self._server_index(server)
        if count >= 0:
            fl_add32(self.ledger(w, i), count)
            fl_add32(&self._servers[i].inflight, count)
            return
        if fl_load32(self.ledger(w, i)) < <uint32_t>-count:
            raise ValueError("gives back more than the worker holds")
        fl_add32(&self._servers[i].inflight, <uint32_t>count)
        fl_add32(self.ledger(w, i), <uint32_t>count)

    def reap(self, worker):
        """Gives back what a dead worker held: its ledger row is subtracted from the shared numbers, clamped at 0.

        Its row, gauges and status become zero, its counters stay. Returns the number of requests given back.
        Only when the worker is gone for sure. O(servers assigned).
        """
        cdef int w = self._slot_index(worker)
        cdef uint32_t held
        cdef RegionHeader* header = self._header()
        cdef uint64_t total = 0
        cdef uint32_t i
        for i in range(header.servers_high):
            self._zero_gauges(self.server_counters(w, i))
            held = fl_load32(self.ledger(w, i))
            if held:
                fl_store32(self.ledger(w, i), 0)
                _subtract(&self._servers[i].inflight, held)
                total += held
                self._bump(i)           # it may be below its limit again
        for i in range(header.groups_high):
            _subtract(&self._groups[i].requests, fl_load32(&self.held(w, i).requests))
            _subtract(&self._groups[i].queued, fl_load32(&self.held(w, i).queued))
            memset(self.held(w, i), 0, sizeof(GroupHeld))
            _subtract(&self._groups[i].retrying, <uint32_t>fl_load64(&self.group_counters(w, i)[RETRYING]))
            self._zero_gauges(self.group_counters(w, i))
        for i in range(header.frontends_high):
            self._zero_gauges(self.frontend_counters(w, i))
        for i in range(LOCKS):      # what it was about to insert is lost, and the place it held is free
            if fl_load32(&self._locks[i]) == <uint32_t>w + 1:
                fl_store32(&self._locks[i], 0)
        limit_reap(&self.limits, w, header.frontends_high)
        memset(&self._workers[w], 0, sizeof(WorkerLine))
        return total

    cdef void _zero_gauges(self, uint64_t* counters) noexcept:
        cdef int c
        for c in range(COUNTERS):
            if <uint64_t>GAUGES >> c & 1:
                fl_store64(&counters[c], 0)

    cdef void _wipe(self, size_t block) noexcept:
        cdef uint32_t w
        for w in range(self._header().slots_high):
            memset(&self._counters[w * self._shard + block * BLOCK], 0, BLOCK * sizeof(uint64_t))

    # ---- workers -----------------------------------------------------------------------------------------------------

    def begin_worker(self, worker):
        """Opens the slot for a worker about to start: state STARTING, the beat is now.

        The supervisor calls it before the worker touches the region; a slot that was never begun is in no sum.
        """
        cdef int w = self._slot_index(worker)
        cdef RegionHeader* header = self._header()
        if header.slots_high <= <uint32_t>w:
            header.slots_high = w + 1
        fl_store64(&self._workers[w].beat_ms, _now_ms())
        fl_store32(&self._workers[w].state, WORKER_STARTING)

    def beat(self, worker, *, connections=0):
        """Sign of life of the worker, with its number of open client connections."""
        cdef WorkerLine* line = &self._workers[self._slot_index(worker)]
        fl_store32(&line.connections, connections)
        fl_store64(&line.beat_ms, _now_ms())
        fl_store64(&line.beats, line.beats + 1)

    def set_worker(self, worker, *, pid=None, state=None, generation=None):
        """Writes the parts given of the worker's line."""
        cdef WorkerLine* line = &self._workers[self._slot_index(worker)]
        if pid is not None:
            fl_store32(&line.pid, pid)
        if state is not None:
            fl_store32(&line.state, state)
        if generation is not None:
            fl_store32(&line.generation, generation)

    def worker_status(self, worker):
        """What the worker last wrote about itself."""
        cdef WorkerLine* line = &self._workers[self._slot_index(worker)]
        return WorkerStatus(
            fl_load32(&line.pid), fl_load32(&line.state), fl_load64(&line.beats), fl_load64(&line.beat_ms),
            fl_load32(&line.connections), fl_load32(&line.generation),
        )

    # ---- counters ----------------------------------------------------------------------------------------------------

    cdef void _add_up(self, size_t block, int first, int n, uint64_t* sums) noexcept:
        cdef uint64_t* shard
        cdef uint32_t w
        cdef int c
        memset(sums, 0, <size_t>n * sizeof(uint64_t))
        for w in range(self._header().slots_high):
            shard = &self._counters[w * self._shard + block * BLOCK + <size_t>first]
            for c in range(n):
                sums[c] += fl_load64(&shard[c])

    cdef list _sum(self, size_t block, int first, int n):
        cdef uint64_t[BUCKETS] sums
        cdef int c
        self._add_up(block, first, n, sums)
        return [sums[c] for c in range(n)]

    cdef int _histogram(self, object kind, object index, object which, uint64_t* buckets) except -1:
        if not 0 <= which < HISTOGRAMS:
            raise IndexError(f"histogram {which} is not in 0..{HISTOGRAMS - 1}")
        self._add_up(self._block(kind, index), COUNTERS + <int>which * BUCKETS, BUCKETS, buckets)
        return 0

    cdef size_t _block(self, object kind, object index) except? 0:
        if kind == "frontend":
            return self._frontend_index(index)
        if kind == "group":
            return MAX_FRONTENDS + self._group_index(index)
        if kind == "server":
            return MAX_FRONTENDS + MAX_GROUPS + self._server_index(index)
        raise ValueError(f"kind: {kind!r} is not frontend, group or server")

    def frontend_totals(self, frontend):
        """The 32 counters of a frontend, summed over all workers, dead ones included."""
        return self._sum(self._block("frontend", frontend), 0, COUNTERS)

    def group_totals(self, group):
        """The 32 counters of a backend, summed over all workers, dead ones included."""
        return self._sum(self._block("group", group), 0, COUNTERS)

    def server_totals(self, server):
        """The 32 counters of a server, summed over all workers, dead ones included."""
        return self._sum(self._block("server", server), 0, COUNTERS)

    def histogram(self, kind, index, which):
        """Buckets of a latency histogram, summed over all workers: `kind` frontend, group or server; `which` 0 queue,
        1 connect, 2 response head, 3 total. Bounds are in `BUCKET_BOUNDS`. O(workers)."""
        cdef uint64_t[BUCKETS] buckets
        cdef int b
        self._histogram(kind, index, which, buckets)
        return [buckets[b] for b in range(BUCKETS)]

    def ladder(self, kind, index, which, tuple edges):
        """Cumulative counts of a histogram: how many durations were below the lower bound of each bucket in `edges`
        (bucket numbers, ascending, from 0 to 200), then the number of all. O(workers)."""
        cdef uint64_t[BUCKETS] buckets
        self._histogram(kind, index, which, buckets)
        return ladder_of(buckets, edges)

    def quantiles(self, kind, index, which, tuple shares, Mark since=None, Mark advance=None):
        """(number of durations, [microseconds that each of `shares` of them stay below]) of a histogram.

        `since` leaves out what was counted before that mark was set; `advance` is set to what is there now (it may be
        the same mark). Within a bucket durations are taken as spread evenly, so a value is off by an eighth at most;
        share 1.0 gives the upper bound of the longest. Zeros where nothing was counted. O(workers).
        """
        cdef uint64_t[BUCKETS] now
        self._histogram(kind, index, which, now)
        found = quantiles_of(now, shares, since)
        if advance is not None:
            memcpy(advance._seen, now, sizeof(now))
        return found

    def count(self, worker, kind, index, counter, n=1):
        """Adds to one counter of the worker's shard; `kind` is 'frontend', 'group' or 'server'. For tools and tests."""
        cdef int w = self._slot_index(worker)
        cdef uint64_t* block
        if not 0 <= counter < COUNTERS:
            raise IndexError(f"counter {counter} is not in 0..{COUNTERS - 1}")
        block = &self._counters[w * self._shard + self._block(kind, index) * BLOCK]
        block[<int>counter] += <uint64_t>n

    def record(self, worker, kind, index, which, microseconds, n=1):
        """Counts `n` durations in a histogram of the worker's shard. For tools and tests."""
        cdef int w = self._slot_index(worker)
        cdef uint64_t* block
        if not 0 <= which < HISTOGRAMS:
            raise IndexError(f"histogram {which} is not in 0..{HISTOGRAMS - 1}")
        block = &self._counters[w * self._shard + self._block(kind, index) * BLOCK]
        block[COUNTERS + <int>which * BUCKETS + <int>bucket_of(microseconds)] += <uint64_t>n


cdef size_t _shard_words() noexcept:
    return (<size_t>MAX_FRONTENDS + MAX_GROUPS + MAX_SERVERS) * BLOCK


cdef size_t _region_size(int slots) noexcept:
    return (
        PAGE + _pages(sizeof(GroupLine) * MAX_GROUPS) + _pages(sizeof(ServerLine) * MAX_SERVERS)
        + _pages(sizeof(uint32_t) * MAX_SERVERS) + _pages(sizeof(BreakerLine) * (MAX_SERVERS + MAX_GROUPS))
        + _pages(sizeof(WorkerLine) * slots)
        + sizeof(uint32_t) * MAX_SERVERS * slots + sizeof(GroupHeld) * MAX_GROUPS * slots
        + _shard_words() * sizeof(uint64_t) * slots
        + sizeof(RateSlot) * RATE_SLOTS + sizeof(StickBucket) * STICK_BUCKETS + sizeof(uint32_t) * LOCKS
        + limit_bytes(slots)
    )
