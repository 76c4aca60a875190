"""Counter blocks. Their meaning is in stats.pxd."""

cdef uint64_t[BLOCK] _nobodys


cdef uint64_t* private_counters() noexcept:
    # One block for all that have not got theirs in the shared region yet: nobody reads it. A block of its own for each
    # would have to be freed at the right time, or every reload would cost memory.
    return _nobodys


NAMES = (
    "connections", "current", "peak", "requests", "bytes_in", "bytes_out", "1xx", "2xx", "3xx", "4xx", "5xx", "other",
    "bad_requests", "denied", "connect_errors", "response_errors", "retries", "redispatches", "client_aborts",
    "server_aborts", "reused", "queued", "queue_peak", "selected", "queue_us", "connect_us", "response_us", "total_us",
    "idle", "intercepted", "open", "retrying", "handshake_full", "handshake_resumed", "tls_1_2", "handshake_protocol",
    "handshake_certificate", "handshake_left", "handshake_timeout", "forbidden", "tarpitted", "dropped",
    "fault_delays", "fault_aborts", "hedges", "hedges_won", "held_back", "held_us", "slow_requests", "slow_responses")
# Counters that say how many there are now; a worker that starts sets its own to zero.
GAUGES = ("current", "queued", "idle", "open", "retrying")
