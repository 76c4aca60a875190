"""Counter blocks. Their meaning is in stats.pxd."""

from libc.stdlib cimport calloc


cdef uint64_t* private_counters() noexcept:
    # Lives as long as the process: configuration objects are few and their blocks small.
    return <uint64_t*>calloc(BLOCK, sizeof(uint64_t))


NAMES = (
    "connections", "current", "peak", "requests", "bytes_in", "bytes_out", "1xx", "2xx", "3xx", "4xx", "5xx", "other",
    "bad_requests", "denied", "connect_errors", "response_errors", "retries", "redispatches", "client_aborts",
    "server_aborts", "reused", "queued", "queue_peak", "selected", "queue_us", "connect_us", "response_us", "total_us",
    "idle", "intercepted", "open", "retrying")
# Counters that say how many there are now; a worker that starts sets its own to zero.
GAUGES = ("current", "queued", "idle", "open", "retrying")
