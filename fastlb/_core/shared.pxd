# Records that live in memory shared by the supervisor and all workers. Fixed size, a cache line each, changed with
# atomics; a process without workers uses the same records in private memory.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    SERVER_UP = 1               # passed its checks, or has none
    SERVER_DRAIN = 2            # takes no new work, keeps what it has
    SERVER_MAINT = 4            # administratively off
    SERVER_EJECTED = 8          # passive checks took it out for a while
    SERVER_OPEN = 16            # W: its circuit breaker is open: nothing goes to it, not even in panic
    SERVER_TRIAL = 32           # W: its circuit breaker is half open: as many requests as it permits

# One server (64 bytes). Who writes: S = supervisor only, W = workers with atomics.
ctypedef struct ServerLine:
    uint32_t inflight           # W: requests on it, all workers
    uint32_t limit              # S: max_connections, 0 = unlimited
    uint64_t latency            # W: float32 peak EWMA in microseconds << 32 | stamp in ms, by compare and swap
    uint32_t failures_in_a_row  # W
    uint32_t state              # SERVER_* flags: S; W those of its circuit breaker. Changed by one operation only
    uint32_t weight             # S: 0..65535, as configured or set at run time
    uint32_t ramp               # S: slow-start factor in 1/65536, 65536 = full
    uint64_t picks              # W
    uint64_t failures           # W
    uint32_t epoch              # S, W: goes up at each change of state, weight or ramp
    uint32_t spare0
    uint64_t spare1

cdef enum:
    BREAKER_BUCKETS = 10        # of a window (Hystrix's number)

# One circuit breaker, of a server or of a backend (256 bytes); its rules are balance/circuit_breaker.pyx. All W.
ctypedef struct BreakerLine:
    uint64_t word               # state (2 bits), generation (16), milliseconds (46): of what depends on the state
    uint64_t trials             # generation (16), taken, ended, failed, slow (12 each): of the half-open period
    uint64_t opened             # times
    uint64_t refused            # requests that were turned away
    uint64_t why                # what opened it last: kind (2 bits), how many of (31) how many (31)
    uint64_t[3] spare
    uint64_t[10] errors         # stamp (22), requests (21), of these failed (21), a bucket each
    uint64_t[10] slow           # likewise, of these slow
    uint64_t[4] spare1

# One key of the rate limiter; four make a bucket, which is one cache line.
ctypedef struct RateSlot:
    uint64_t key                # W: hash of rule and key, never 0 in use
    uint64_t tat                # W: theoretical arrival time, ns of CLOCK_MONOTONIC (GCRA)

cdef enum:
    STICK_WAYS = 8
    STICK_TEXT = 47             # bytes of a key that are kept to be shown

# Eight entries of a stick table, the keys in one cache line and what they stand for in the next.
ctypedef struct StickBucket:
    uint64_t keys[STICK_WAYS]       # W: hash of the key, 0 = free
    uint64_t values[STICK_WAYS]     # W: (server's index + 1) << 40 | ms of CLOCK_MONOTONIC when last used
    # W: length, then the first bytes of the key. For people: a reader may see half of one key and half of the next.
    uint8_t texts[STICK_WAYS][STICK_TEXT + 1]

# One backend (64 bytes).
ctypedef struct GroupLine:
    uint64_t ticket             # W: exact round robin over all workers
    uint32_t epoch              # S: goes up whenever any of its servers' epochs does, or the set changes
    uint32_t retrying           # W: exchanges on a further attempt, all workers
    uint64_t retries_refused    # W: attempts not made because the budget was spent
    uint32_t requests           # W: let in and not ended, all workers; counted only where there is a limit
    uint32_t queued             # W: waiting for a free server, all workers
    uint32_t limit              # S: of `requests`, as the adaptive limit has it; 0 = none
    uint32_t spare0
    uint64_t spare[3]

# What one worker counted of the two, and since when its oldest waits.
ctypedef struct GroupHeld:
    uint32_t requests
    uint32_t queued
    uint64_t oldest_ms          # 0 = nobody waits
