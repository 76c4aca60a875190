# A backend and a frontend as a worker sees them: one snapshot's tables, replaced as a whole.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from cpython.object cimport PyObject
from fastlb._core.atomics cimport fl_add32, fl_store32, fl_sub32_floor
from fastlb._core.limit_tables cimport FrontLine
from fastlb.balance.selector cimport Selector
from fastlb.engine.affinity cimport Affinity
from fastlb.engine.bandwidth cimport Bandwidth
from fastlb.engine.capture cimport Captured
from fastlb.engine.guard cimport Guard
from fastlb.engine.hedge cimport Hedge
from fastlb.engine.rate_limit cimport RateLimits
from fastlb.engine.retry cimport RetryPolicy
from fastlb.engine.router cimport Router
from fastlb.engine.networks cimport Networks
from fastlb.engine.rules cimport Redirect, Respond
from fastlb.engine.server cimport Connector, Server
from fastlb.engine.split cimport Split
from fastlb.engine.tcp_router cimport TcpRouter
from fastlb.engine.wait_queue cimport WaitQueue
from fastlb.http.fields cimport HeadLimits
from fastlb.http.rewrite cimport RequestPlan, ResponsePlan

cdef class Backend:
    cdef:
        readonly bytes name
        Selector selector
        Connector connector
        readonly list servers       # by slot
        PyObject** by_slot          # borrowed from `servers`
        int count
        uint64_t* counters
        # milliseconds, 0 = off
        uint32_t connect_ms, server_ms, queue_ms, tunnel_ms, half_closed_ms
        uint32_t retries
        RetryPolicy retry
        uint32_t try_ms             # until the response head of one attempt; 0 = off
        uint32_t replay_bytes       # a request longer than this, body included, is not sent twice
        Hedge hedge                 # None = no second copies
        Guard guard                 # None = nothing turns requests away
        Bandwidth bandwidth         # None = unlimited
        Respond overload            # answers what the guard turns away; None = 503
        Backend fallback            # takes it instead; None = nobody
        uint8_t key_kind            # KEY_* of request_key.pxd
        bytes key_name              # lower case, of a header, cookie or query parameter
        bint source_hash            # ip_hash reads the address its own way
        Affinity affinity           # None: any server will do
        WaitQueue queue             # exchanges waiting for a free server
        Captured captured           # the last malformed response

# What a matched route does: exactly one of backend, redirect, respond is set (all None: 404).
cdef class Action:
    cdef:
        uint8_t priority            # Priority of its requests
        bytes route                 # its name, else its place from 1; 'default' where none matched
        Backend backend
        Redirect redirect
        Respond respond
        RequestPlan request_plan
        ResponsePlan response_plan
        RateLimits limits           # None = unlimited
        Bandwidth bandwidth         # likewise
        list steps                  # Steps to take before; None = none
        Split split                 # which other Action is taken in the end; None = this one
        Action secure               # of requests that came over TLS; None = this one

cdef class Frontend:
    cdef:
        readonly bytes name
        bytes log_name              # with HAProxy's '~' behind it over TLS
        Router router
        list actions                # by route index, the default one last
        PyObject** by_route         # borrowed from `actions`
        int default_action
        HeadLimits limits
        uint64_t max_body
        uint32_t header_ms, client_ms, idle_ms
        uint32_t pace_ms            # window in which clients must move the next two; 0 = they need not
        uint64_t least_in, least_out
        TcpRouter sessions          # of a frontend of mode tcp
        bint internal               # of requests that the proxy makes itself: they are in no log
        bint tcp                    # layer 4: connections are passed on as they are
        bint abort_on_close
        bint redirect_https
        dict challenges             # path -> Action that answers an ACME server; None = nothing is asked
        uint32_t max_connections    # over all workers; 0 = unlimited
        FrontLine* line             # shared: counts them where there is a limit
        uint32_t* line_held         # this worker's part of that
        RateLimits accepts          # of new connections; None = unlimited
        Networks trust              # None = nobody
        Captured captured           # the last malformed request
        Networks explain            # clients that get X-Fastlb-Explain; None = nobody
        bint asks_clients           # some listener asks for client certificates
        bint traces                 # requests belong to a trace, and their servers are told which
        bint spans                  # of which this proxy records spans
        const char* trace_share     # of find_trace; lives in `trace_text`
        bytes trace_text
        uint64_t* counters

# One client connection more of all workers, counted before it is accepted; false, and nothing is counted, at the limit.
cdef inline bint front_enter(Frontend front) noexcept:
    fl_store32(front.line_held, front.line_held[0] + 1)
    if fl_add32(&front.line.open, 1) < front.max_connections:
        return True
    front_leave(front)
    return False

# Counted here first, so that a death in between gives back too much and never too little.
cdef inline void front_add(Frontend front) noexcept:
    fl_store32(front.line_held, front.line_held[0] + 1)
    fl_add32(&front.line.open, 1)

cdef inline void front_leave(Frontend front) noexcept:
    fl_sub32_floor(&front.line.open, 1)
    if front.line_held[0]:
        fl_store32(front.line_held, front.line_held[0] - 1)
