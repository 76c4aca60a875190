"""Numbers of the counters in a block of the shared region, for readers; the engine's fastlb/engine/stats.pxd rules.

`region.frontend_totals(index)[counters.REQUESTS]`. A test keeps the two lists equal.
"""

from __future__ import annotations

from typing import Final

CONNECTIONS: Final = 0  # accepted from clients, or opened to the server
CURRENT: Final = 1  # exchanges in flight now
PEAK: Final = 2  # most of CURRENT (a frontend: of OPEN) at once in one worker; a sum over workers is an upper bound
REQUESTS: Final = 3  # exchanges ended
BYTES_IN: Final = 4  # from clients
BYTES_OUT: Final = 5  # to clients
STATUS_1XX: Final = 6
STATUS_2XX: Final = 7
STATUS_3XX: Final = 8
STATUS_4XX: Final = 9
STATUS_5XX: Final = 10
STATUS_OTHER: Final = 11  # ended without a status: the client had left
BAD_REQUESTS: Final = 12
DENIED: Final = 13
CONNECT_ERRORS: Final = 14
RESPONSE_ERRORS: Final = 15
RETRIES: Final = 16
REDISPATCHES: Final = 17
CLIENT_ABORTS: Final = 18
SERVER_ABORTS: Final = 19
REUSED: Final = 20
QUEUED: Final = 21  # waiting now
QUEUE_PEAK: Final = 22
SELECTED: Final = 23
QUEUE_US: Final = 24  # sums over ended exchanges, microseconds
CONNECT_US: Final = 25
RESPONSE_US: Final = 26
TOTAL_US: Final = 27
IDLE: Final = 28  # idle connections to the server now
INTERCEPTED: Final = 29  # answered without a server
OPEN: Final = 30  # client connections open now
RETRYING: Final = 31  # exchanges on a further attempt that is in the retry budget, now
HANDSHAKE_FULL: Final = 32  # of the TLS listeners of a frontend
HANDSHAKE_RESUMED: Final = 33
TLS_1_2: Final = 34  # of both; the others are of TLS 1.3
HANDSHAKE_PROTOCOL: Final = 35  # failed: no TLS, no common version, cipher or name
HANDSHAKE_CERTIFICATE: Final = 36  # failed: the client's certificate
HANDSHAKE_LEFT: Final = 37  # failed: the client has closed the connection
HANDSHAKE_TIMEOUT: Final = 38
FORBIDDEN: Final = 39  # of a frontend: refused by a list of networks (DENIED, too), by what they got
TARPITTED: Final = 40
DROPPED: Final = 41
FAULT_DELAYS: Final = 42  # of a frontend: faults on purpose
FAULT_ABORTS: Final = 43
HEDGES: Final = 44  # second copies: of a backend, and of the server that got them
HEDGES_WON: Final = 45  # those that went on alone: they answered first, or the first attempt failed
HELD_BACK: Final = 46  # directions of exchanges that a limit of bandwidth has held back
HELD_US: Final = 47  # microseconds that they waited
SLOW_REQUESTS: Final = 48  # cut off: their bodies came too slowly
SLOW_RESPONSES: Final = 49  # their clients took the answer too slowly

# Histograms behind the counters, by number
TIME_QUEUE: Final = 0
TIME_CONNECT: Final = 1
TIME_RESPONSE: Final = 2
TIME_TOTAL: Final = 3

NAMES: Final = (
    "connections", "current", "peak", "requests", "bytes_in", "bytes_out", "1xx", "2xx", "3xx", "4xx", "5xx", "other",
    "bad_requests", "denied", "connect_errors", "response_errors", "retries", "redispatches", "client_aborts",
    "server_aborts", "reused", "queued", "queue_peak", "selected", "queue_us", "connect_us", "response_us", "total_us",
    "idle", "intercepted", "open", "retrying", "handshake_full", "handshake_resumed", "tls_1_2", "handshake_protocol",
    "handshake_certificate", "handshake_left", "handshake_timeout", "forbidden", "tarpitted", "dropped", "fault_delays",
    "fault_aborts", "hedges", "hedges_won", "held_back", "held_us", "slow_requests", "slow_responses",
)  # fmt: skip
