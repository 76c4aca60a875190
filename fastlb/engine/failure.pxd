# How an attempt at a server fails, and what follows from it.

cdef enum:
    FAIL_CONNECT = 1            # refused, unreachable
    FAIL_CONNECT_TIMEOUT = 2
    FAIL_STALE = 3              # a kept-alive connection was closed before any byte of the answer
    FAIL_CLOSED = 4             # a new connection likewise
    FAIL_TIMEOUT = 5            # no response head in time
    FAIL_MALFORMED = 6          # the answer breaks the protocol
    FAIL_TRUNCATED = 7          # the answer broke off
    FAIL_STALLED = 8            # its body stopped coming
    FAIL_RESOURCES = 9          # no descriptor, no memory: ours
    FAIL_HEAD_TOO_LARGE = 10    # the request head does not fit after rewriting
    FAIL_HEAD_REFUSED = 11      # rewriting refused it
    FAIL_RESPONSE_TOO_LARGE = 13    # the head of the answer does not fit after rewriting
    FAIL_CUT_HEAD = 14          # the answer broke off before its head was complete, and nothing had come before
    FAIL_STATUS = 12            # answered a status that is tried again; the answer is thrown away

cdef enum:
    AGAIN_NEVER = 0
    AGAIN_ALWAYS = 1            # the server saw nothing of the request
    AGAIN_IDEMPOTENT = 2        # it may have: only a request that may be sent twice

cdef struct Verdict:
    int status                  # of the answer when nothing else is tried
    const char* term            # HAProxy's termination flags
    const char* reason
    int again                   # AGAIN_*
    bint blame                  # counts against the server

cdef Verdict failure_verdict(int failure, bint response_started) noexcept nogil
# What the connection that is about to be given up (FAIL_CONNECT) failed for: a text that lives for ever. The next
# verdict of that failure tells it.
cdef void failure_because(const char* text) noexcept nogil
# The second of HAProxy's termination flags: how far an exchange had come when its client left.
cdef char phase_of(bint queueing, bint response_started, bint connected, bint request_done) noexcept nogil
