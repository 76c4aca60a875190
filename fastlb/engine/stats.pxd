# Counters of one frontend, backend or server in one worker: blocks of uint64_t[BLOCK], written by that worker only
# and summed by the reader. Gauges (current, waiting) are counters that also go down.
from libc.stdint cimport uint64_t
from fastlb._core.histogram cimport BUCKETS, bucket_of
from fastlb._core.region cimport BLOCK, COUNTERS

cdef enum:
    COUNT_CONNECTIONS = 0       # accepted, or opened to the server
    COUNT_CURRENT = 1           # open now / exchanges in flight now
    COUNT_PEAK = 2              # of COUNT_CURRENT; of a frontend: of COUNT_OPEN
    COUNT_REQUESTS = 3          # exchanges ended
    COUNT_BYTES_IN = 4          # from the client
    COUNT_BYTES_OUT = 5         # to the client
    COUNT_1XX = 6
    COUNT_2XX = 7
    COUNT_3XX = 8
    COUNT_4XX = 9
    COUNT_5XX = 10
    COUNT_OTHER = 11
    COUNT_BAD_REQUESTS = 12     # refused while reading the request (HAProxy ereq)
    COUNT_DENIED = 13
    COUNT_CONNECT_ERRORS = 14   # econ
    COUNT_RESPONSE_ERRORS = 15  # eresp
    COUNT_RETRIES = 16          # wretr
    COUNT_REDISPATCHES = 17     # wredis
    COUNT_CLIENT_ABORTS = 18
    COUNT_SERVER_ABORTS = 19
    COUNT_REUSED = 20           # exchanges on a kept-alive server connection
    COUNT_QUEUED = 21           # waiting now
    COUNT_QUEUE_PEAK = 22
    COUNT_SELECTED = 23         # lbtot
    COUNT_QUEUE_US = 24         # sums over ended exchanges, microseconds
    COUNT_CONNECT_US = 25
    COUNT_RESPONSE_US = 26
    COUNT_TOTAL_US = 27
    COUNT_IDLE = 28             # idle connections now
    COUNT_INTERCEPTED = 29      # answered locally
    COUNT_OPEN = 30             # client connections open now
    COUNT_RETRYING = 31         # exchanges on a further attempt that is in the budget, now
    # of the TLS listeners of a frontend
    COUNT_HANDSHAKE_FULL = 32
    COUNT_HANDSHAKE_RESUMED = 33
    COUNT_TLS_1_2 = 34          # of both; the others are of TLS 1.3
    COUNT_HANDSHAKE_PROTOCOL = 35       # failed: no TLS, no common version, cipher or name
    COUNT_HANDSHAKE_CERTIFICATE = 36    # failed: the client's certificate
    COUNT_HANDSHAKE_LEFT = 37   # failed: the client has closed the connection
    COUNT_HANDSHAKE_TIMEOUT = 38
    # of a frontend: requests that a list of networks refused (COUNT_DENIED, too), by what they got
    COUNT_FORBIDDEN = 39
    COUNT_TARPITTED = 40
    COUNT_DROPPED = 41
    # of a frontend: faults on purpose
    COUNT_FAULT_DELAYS = 42
    COUNT_FAULT_ABORTS = 43
    # of a backend, and of the server that got the second copy of a request
    COUNT_HEDGES = 44
    COUNT_HEDGES_WON = 45       # the copy went on alone: it answered first, or the first attempt failed
    # of a frontend: see throttle.pyx and pace.pyx
    COUNT_HELD_BACK = 46        # directions of exchanges that a limit of bandwidth has held back
    COUNT_HELD_US = 47          # microseconds that they waited
    COUNT_SLOW_REQUESTS = 48    # cut off: their bodies came too slowly
    COUNT_SLOW_RESPONSES = 49   # their clients took the answer too slowly

# One more now, and perhaps more than ever.
cdef inline void count_up(uint64_t* block, int gauge, int peak) noexcept nogil:
    block[gauge] += 1
    if block[gauge] > block[peak]:
        block[peak] = block[gauge]

# Latency histograms behind the counters of a block.
cdef enum:
    TIME_QUEUE = 0
    TIME_CONNECT = 1
    TIME_RESPONSE = 2
    TIME_TOTAL = 3

cdef inline void record_time(uint64_t* block, int which, uint64_t us) noexcept nogil:
    block[COUNTERS + which * BUCKETS + <int>bucket_of(us)] += 1

# The block that stands in where nobody reads: objects made without shared memory use it.
cdef uint64_t* private_counters() noexcept
