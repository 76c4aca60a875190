# Records that live in memory shared by the supervisor and all workers. Fixed size, a cache line each, changed with
# atomics; a process without workers uses the same records in private memory.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    SERVER_UP = 1               # passed its checks, or has none
    SERVER_DRAIN = 2            # takes no new work, keeps what it has
    SERVER_MAINT = 4            # administratively off
    SERVER_EJECTED = 8          # passive checks took it out for a while

# One server (64 bytes). Who writes: S = supervisor only, W = workers with atomics.
ctypedef struct ServerLine:
    uint32_t inflight           # W: requests on it, all workers
    uint32_t limit              # S: max_connections, 0 = unlimited
    uint64_t latency            # W: float32 peak EWMA in microseconds << 32 | stamp in ms, by compare and swap
    uint32_t failures_in_a_row  # W
    uint32_t state              # S: SERVER_* flags
    uint32_t weight             # S: 0..65535, as configured or set at run time
    uint32_t ramp               # S: slow-start factor in 1/65536, 65536 = full
    uint64_t picks              # W
    uint64_t failures           # W
    uint32_t epoch              # S: goes up at each change of state, weight or ramp
    uint32_t spare0
    uint64_t spare1

# One key of the rate limiter; four make a bucket, which is one cache line.
ctypedef struct RateSlot:
    uint64_t key                # W: hash of rule and key, never 0 in use
    uint64_t tat                # W: theoretical arrival time, ns of CLOCK_MONOTONIC (GCRA)

# One backend (64 bytes).
ctypedef struct GroupLine:
    uint64_t ticket             # W: exact round robin over all workers
    uint32_t epoch              # S: goes up whenever any of its servers' epochs does, or the set changes
    uint32_t retrying           # W: exchanges on a further attempt, all workers
    uint64_t retries_refused    # W: attempts not made because the budget was spent
    uint64_t spare[5]
