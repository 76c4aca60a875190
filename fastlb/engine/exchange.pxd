# One request and its response: the route, the picked server, the attempts, the timers, the outcome.
# Codecs never pick servers; exchanges never parse bytes.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from cpython.object cimport PyObject
from fastlb.engine.affinity cimport Sticky
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.core cimport Core
from fastlb.engine.extras cimport Extras
from fastlb.engine.reactor cimport EventHandler
from fastlb.engine.server cimport Server, ServerConnection
from fastlb.engine.step cimport Step
from fastlb.engine.stream cimport Stream
from fastlb.engine.tls_context cimport TlsLayer
from fastlb.engine.upstream cimport Action, Backend, Frontend
from fastlb.engine.wait_queue cimport Waiter
from fastlb.http.response_head cimport ResponseHead
from fastlb.http.identity cimport Trace
from fastlb._core.net cimport sockaddr, sockaddr_storage
from fastlb._core.span cimport Span

cdef enum:
    MAX_TRIED = 4
    SENT_UNFIT = -2             # of respond: the head does not fit after rewriting; nothing was sent

# The connection a request came in on.
cdef class ClientSide(Stream):
    cdef:
        Frontend front          # in force for the exchange at hand
        bint retiring           # its listener is gone: no exchange after the one at hand, or the next one
    # The response head and the first run of its body; `end` when that was all.
    cdef int respond(self, Exchange e, const ResponseHead* h, const char* buf, const char* body, size_t n,
                     bint end) noexcept
    # A 1xx answer before the final one.
    cdef int interim(self, Exchange e, const ResponseHead* h, const char* buf) noexcept
    # More of the body, framed as the response head said.
    cdef int relay(self, Exchange e, const char* p, size_t n) noexcept
    # A complete answer made here, head included; the connection closes after it when `close`.
    cdef void answer(self, Exchange e, const char* p, size_t n, bint close) noexcept
    # The response is complete.
    cdef void response_done(self, Exchange e) noexcept
    # The connection broke: cancels the exchange and closes.
    cdef void gone(self) noexcept
    # The response cannot be completed.
    cdef void break_off(self, Exchange e, bint reset) noexcept
    # The server takes request body (again).
    cdef void resume_body(self, Exchange e) noexcept
    # No longer HTTP: bytes go both ways from now on.
    cdef void become_tunnel(self, Exchange e) noexcept
    # The exchange waits in the queue until this time (ms); 0 = no longer.
    cdef void wait_until(self, uint64_t deadline_ms) noexcept
    # The server's side of the tunnel has bytes.
    cdef void relay_back(self, Exchange e) noexcept
    cdef const sockaddr* peer(self) noexcept
    cdef uint16_t peer_port(self) noexcept
    cdef uint16_t local_port(self) noexcept
    cdef void local_address(self, sockaddr_storage* out) noexcept
    cdef bint https(self) noexcept

# The connection a request goes out on.
cdef class ServerSide(ServerConnection):
    # Sends the head (rewritten) and what came of the body with it.
    cdef void begin(self, Exchange e) noexcept
    # Sends more of the body. Sent.
    cdef int send_body(self, Exchange e, const char* p, size_t n) noexcept
    # The client takes response body again.
    cdef void resume(self) noexcept
    # The exchange is over for this connection: close it, whatever state it is in.
    cdef void cancel(self) noexcept
    # Looks whether an idle connection still stands; one system call.
    cdef bint alive(self) noexcept

# The other one of two attempts that are under way at a time.
cdef class Attempt:
    cdef:
        ServerSide up
        Server server
        int32_t slot
        uint32_t permit
        bint reused
        uint64_t attempt_us, connected_us

cdef class Exchange(Waiter):
    cdef:
        Core core
        Frontend front
        Action action
        Backend backend             # None until a route chose one
        Server server               # None until one was picked
        ClientSide client           # None once it has gone
        ServerSide up               # None when no connection serves it
        Attempt other               # a second copy is under way: the attempt that is not at hand; else None
        Extras extras               # None = nothing beside what the route says
        Chunk* saved                # request head as received, then the body bytes that came with it
        uint32_t head_len
        uint32_t body_len           # of those, in `saved`
        # what of the head is needed after the scratch copy is gone
        Span alpn                   # of a ClientHello
        Span line, host, user_agent, referer, incoming_id
        uint8_t method              # http Method
        uint8_t minor
        uint8_t framing             # of the request
        bint wants_json             # error pages
        bint awaits                 # the client waits for 100 (Continue) before it sends its body
        bint upgrade                # the client asks for an upgrade
        bint keep_alive             # the client wants it
        # progress
        bint request_done           # the whole request has been received
        bint response_started       # some of the answer has gone to the client
        bint holding                # a server is taken: release is due
        bint queueing
        bint ended
        Step parked                 # for whom it waits before it has a backend; None = it does not
        uint32_t step               # steps that were asked
        bint reused                 # the attempt at hand runs on a kept-alive connection
        bint pausing                # before a further attempt; the client's deadline ends it
        bint hedge_due              # the client's deadline is when a second copy is sent
        uint32_t asked_ms           # Retry-After of an answer that is tried again
        bint retrying               # counted in the backend's retry budget
        uint8_t ntried
        uint8_t attempts
        uint8_t redispatched
        int32_t tried[MAX_TRIED]
        int32_t slot                # of the server that is taken
        uint32_t permit             # of the server's circuit breaker, for the attempt at hand
        bint judged                 # the circuit breakers know how it went: of a tunnel, before its end
        uint32_t entry              # of the backend's guard; 0 = it has none, or did not let this in
        Sticky sticky               # where the backend has affinity
        bint pinned                 # it is served by the client's own server or by none
        bint has_key
        uint64_t key
        uint16_t status
        char term[4]
        const char* reason          # static text, NULL = nothing to say
        const char* note            # likewise of what was let through all the same, for the log
        uint32_t holds              # what it owes to rate limits in the end; 0 = nothing
        # monotonic microseconds; 0 = not reached
        uint64_t start_us, head_us, assigned_us, connected_us, response_us
        uint64_t attempt_us         # of the attempt at hand
        uint64_t bytes_in, bytes_out
        uint32_t queue_ahead
        uint32_t retry_after        # seconds, of a 429 or 503; 0 = of a 503 one
        uint32_t server_conns       # on the server when this one ended
        uint16_t client_port
        bint https
        TlsLayer tls                # of the client's connection; None = plain
        char client_text[48]
        uint32_t client_len
        char request_id[32]
        Trace trace                 # where the frontend has traces

    # --- from admission: `backend` and the key are set
    cdef void assign(self) noexcept
    # What it has beside what its route says, made where it has nothing yet.
    cdef Extras extra(self)
    # Answers an error page made here.
    cdef void fail(self, int status, const char* term, const char* reason) noexcept
    # Sends the answer core.obuf[0:n], made here, and ends; the connection closes after it when `close`.
    cdef void answer(self, size_t n, bint close) noexcept
    # The connection takes no further request, whatever the client wants.
    cdef bint leaving(self) noexcept
    # --- from the server side
    cdef void connected(self) noexcept
    cdef void response_head(self, const ResponseHead* h) noexcept
    cdef void response_complete(self) noexcept
    # Before response_head: whether to throw the answer away (attempt_failed with FAIL_STATUS).
    cdef bint retries_status(self, const ResponseHead* h, const char* buf) noexcept
    # Sends a second copy when the answer is late: from when on, and now.
    cdef void hedge_later(self) noexcept
    cdef void hedge(self) noexcept
    # The attempt at hand goes on alone; or it has failed, and the other one does.
    cdef void drop_other(self) noexcept
    cdef void carry_on(self, Attempt a) noexcept
    # Where two copies are under way: makes the attempt of this connection the one at hand.
    cdef void turn_to(self, ServerSide up) noexcept
    cdef void attempt_failed(self, int failure) noexcept
    # --- from the client side
    cdef void client_gone(self) noexcept
    cdef void client_timed_out(self) noexcept
    # Ends without an answer, or within it: the server's connection ends, the client's is reset.
    cdef void abandon(self, const char* term, const char* reason) noexcept
    cdef void body_refused(self, int status, const char* reason) noexcept
    cdef void body_complete(self) noexcept
    # Body bytes go to the server: keeps them where they may be sent again. Before bytes_in counts them.
    cdef void keep_body(self, const char* p, size_t n) noexcept
    # --- from either
    cdef void tunnel_over(self, bint broken) noexcept
    # --- inside
    cdef bint load_head(self) noexcept
    cdef void attach(self, int slot) noexcept
    cdef void queue_up(self) noexcept
    cdef void leave_queue(self) noexcept
    cdef void give_back(self, int use) noexcept
    # The circuit breakers hear how the attempt at hand went.
    cdef void judge(self, int use, uint32_t latency_us) noexcept
    cdef void end(self) noexcept
    cdef void trim(self) noexcept
    cdef uint64_t announce(self, Server s) noexcept
    cdef void cut(self, const char* term, const char* reason) noexcept
    cdef void try_elsewhere(self, int failure, int status, const char* term, const char* reason) noexcept
    cdef bint _repeatable(self) noexcept
    cdef void _stop_waiting(self) noexcept
