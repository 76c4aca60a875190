"""A server connection that speaks HTTP/1.1.

It sends what an exchange gives it, reads the answer as strictly as requests are read, and passes it on. What the
server sends beyond its answer never reaches anybody: such a connection is closed instead of being used again.
"""

cimport cython
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from fastlb._core.debug cimport FASTLB_DEBUG, LIVE_UPSTREAM, live_counters
from fastlb._core.net cimport (
    EAGAIN, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, MSG_DONTWAIT, MSG_PEEK, errno, recv)
from fastlb.engine.admission cimport fill_info
from fastlb.engine.capture cimport Captured, response_fault
from fastlb.engine.buffer cimport chunk_free, chunk_grow, chunk_new
from fastlb.engine.connect cimport OPEN_DONE, OPEN_FAILED, connection_open
from fastlb.engine.core cimport HEAD_OUT, READ_ROUNDS, READ_SIZE, Core
from fastlb.engine.exchange cimport SENT_UNFIT, ClientSide
from fastlb.engine.extras cimport dress_head
from fastlb.engine.failure cimport (
    FAIL_CLOSED, FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_CUT_HEAD, FAIL_HEAD_REFUSED, FAIL_HEAD_TOO_LARGE,
    FAIL_MALFORMED,
    FAIL_RESOURCES, FAIL_RESPONSE_TOO_LARGE, FAIL_STALE, FAIL_STALLED, FAIL_STATUS, FAIL_TIMEOUT, FAIL_TRUNCATED)
from fastlb.engine.reactor cimport clear_deadline, set_deadline
from fastlb.engine.server cimport (
    Server, ServerConnection, connection_over, idle_until, learn_close, learn_told, pool_put, pool_remove)
from fastlb.engine.stream cimport (
    IO_AGAIN, IO_EOF, SENT_ALL, SENT_ERROR, SENT_PENDING, STREAM_EOF, STREAM_PAUSED, STREAM_READABLE)
from fastlb.engine.throttle cimport receive_within
from fastlb.engine.tunnel cimport tunnel_complete, tunnel_drained
from fastlb.http.chunked cimport (
    CHUNK_DATA, CHUNK_END, CHUNK_ERROR, chunked_next, chunked_reset, chunked_scan)
from fastlb.http.fields cimport (
    FIELD_KEEP_ALIVE, Field, FRAMING_CHUNKED, FRAMING_EOF, FRAMING_LENGTH, FRAMING_NONE, FRAMING_TUNNEL, HeadLimits,
    MAX_FIELDS, PARSE_ERROR,
    reason_text)
from fastlb.http.response_head cimport parse_response_head, response_head_reset, response_head_size
from fastlb.http.identity cimport ForwardInfo
from fastlb.http.rewrite cimport HEAD_REFUSED, write_request_head

cdef enum:
    MAX_INTERIMS = 32           # 1xx heads before the final one; a server must not be able to send them for ever

# Responses are the operator's own servers': a roomier bound than for requests.
cdef HeadLimits _limits
_limits.bytes = 65536
_limits.count = MAX_FIELDS
_limits.uri = 65536


@cython.final
@cython.no_gc
cdef class H1Upstream(ServerSide):
    """A server connection that speaks HTTP/1.1."""

    def __dealloc__(self):
        if FASTLB_DEBUG:
            live_counters()[LIVE_UPSTREAM] -= 1
        chunk_free(self.inb)
        free(self.partial)

    # --- events

    cdef void on_events(self, uint32_t events) noexcept:
        cdef Exchange e
        cdef int sent
        if events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR):
            self.stream_flags |= STREAM_EOF
        if events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP | EPOLLERR):
            self.stream_flags |= STREAM_READABLE
        if self.state == UP_IDLE:
            if self.stream_flags & STREAM_READABLE:
                # Closed by the server, or bytes nobody asked for: either way of no more use.
                if self.stream_flags & STREAM_EOF:
                    learn_close(self.server, self.core.reactor.now_ms - self.idle_ms, self.core.reactor.now_ms)
                self.shut(False)
            return
        if self.state == UP_CONNECTING:
            if events & (EPOLLERR | EPOLLHUP):
                self.drop(FAIL_CONNECT)
                return
            if self.layer is None:
                if not events & EPOLLOUT:
                    return
                self.now_connected()
            else:
                self.handshake()
            if self.state != UP_ACTIVE:
                return
        if events & EPOLLOUT and self.out != NULL:
            e = self.exchange
            sent = self.flush()
            if self.state == UP_TUNNEL:
                if sent == SENT_ERROR or (sent == SENT_ALL and tunnel_drained(self, self.tunnel)):
                    e.tunnel_over(sent == SENT_ERROR)
                    return
            elif sent == SENT_ERROR:
                self.send_failed = True
                self.stream_flags |= STREAM_READABLE
            else:
                self.arm()
                if sent == SENT_ALL and e is not None and not e.request_done and e.client is not None:
                    e.client.resume_body(e)
        if self.stream_flags & STREAM_READABLE:
            self.read_more()

    cdef void on_deferred(self) noexcept:
        if self.stream_flags & STREAM_READABLE and self.state != UP_IDLE:
            self.read_more()

    cdef void on_timer(self) noexcept:
        cdef Exchange e = self.exchange
        if self.state == UP_IDLE:
            if self.exploring:
                self.server.guard_ms = 0        # the server would have kept it for longer
                self.server.closes = 0
            self.shut(False)
        elif self.state == UP_CONNECTING:
            self.drop(FAIL_CONNECT_TIMEOUT)
        elif self.state == UP_TUNNEL or e is None:
            return
        elif self.stream_flags & STREAM_PAUSED or (
                not e.request_done and not e.awaits and self.out == NULL and not self.send_failed):
            self.arm()          # the client is the slow one, and has a deadline of its own
        elif self.head_done:
            self.drop(FAIL_STALLED)
        else:
            self.drop(FAIL_TIMEOUT)

    cdef void arm(self) noexcept:
        cdef Exchange e = self.exchange
        cdef uint64_t now = self.core.reactor.now_ms
        cdef uint64_t until = 0, whole
        if e is not None:
            if e.backend.server_ms:
                until = now + e.backend.server_ms
            if e.backend.try_ms and not self.head_done and e.request_done:
                # Of the whole attempt: bytes of the head that trickle in do not extend it.
                whole = self.begun_ms + e.backend.try_ms
                if until == 0 or whole < until:
                    until = max(whole, now + 1)
        if until:
            set_deadline(self.core.reactor, self, until)
        else:
            clear_deadline(self)

    cdef void now_connected(self) noexcept:
        self.state = UP_ACTIVE
        self.arm()
        self.exchange.turn_to(self)
        self.exchange.connected()

    cdef void handshake(self) noexcept:
        """TLS goes on; a handshake that fails counts as a connection that failed, nothing of the request being lost."""
        cdef Exchange e = self.exchange
        cdef int got
        if self.out != NULL and self.flush() == SENT_ERROR:
            self.drop(FAIL_CONNECT)
            return
        got = self.layer.establish(self)
        if got < 0:
            self.drop(FAIL_CONNECT)
        elif got > 0:
            self.now_connected()
            if self.out == NULL and not e.request_done and e.client is not None:
                e.client.resume_body(e)

    # --- the request

    cdef void begin(self, Exchange e) noexcept:
        cdef Core core = self.core
        cdef ForwardInfo info
        cdef ssize_t head
        cdef int sent
        self.exchange = e
        self.begun_ms = self.core.reactor.now_ms
        self.head_done = False
        self.got_any = False
        self.send_failed = False
        self.interims = 0
        self.stream_flags &= ~STREAM_PAUSED
        self.uses += 1
        fill_info(e, &info)
        head = write_request_head(core.obuf, HEAD_OUT, e.saved.data, core.request, e.action.request_plan, &info)
        if e.extras is not None and e.extras.request != NULL and head > 0:
            head = dress_head(e.extras.request, core.obuf, <size_t>head, HEAD_OUT)
        if head < 0:
            self.drop(FAIL_HEAD_REFUSED if head == HEAD_REFUSED else FAIL_HEAD_TOO_LARGE)
            return
        if e.body_len and <size_t>head + e.body_len <= HEAD_OUT:
            memcpy(core.obuf + head, e.saved.data + e.head_len, e.body_len)
            sent = self.transmit(core.obuf, <size_t>head + e.body_len, NULL, 0)
        else:
            sent = self.transmit(core.obuf, <size_t>head, e.saved.data + e.head_len, e.body_len)
        if sent == SENT_ERROR:
            if self.state == UP_CONNECTING:
                self.drop(FAIL_CONNECT)
            else:
                # Perhaps it had answered before it closed; reading tells, which an idle connection is not asked to do.
                self.state = UP_ACTIVE
                self.send_failed = True
                self.stream_flags |= STREAM_READABLE
                core.reactor.defer(self)
                self.arm()
            return
        if self.state == UP_CONNECTING:
            if self.layer is not None:
                self.handshake()
            elif sent == SENT_ALL or self.out_bytes < <size_t>head + e.body_len:
                self.now_connected()
            return
        self.state = UP_ACTIVE
        self.arm()
        if e.body_len:
            e.trim()
        if sent == SENT_ALL and not e.request_done:
            e.client.resume_body(e)

    cdef int send_body(self, Exchange e, const char* p, size_t n) noexcept:
        cdef int sent
        if self.send_failed:
            return SENT_PENDING
        sent = self.transmit(p, n, NULL, 0)
        if sent == SENT_ERROR:
            self.send_failed = True
            self.stream_flags |= STREAM_READABLE
            self.core.reactor.defer(self)
            return SENT_PENDING
        if self.state != UP_CONNECTING:
            self.arm()
        return sent

    # --- the response

    cdef void resume(self) noexcept:
        self.stream_flags &= ~STREAM_PAUSED
        if self.state == UP_ACTIVE:
            self.arm()
        if self.stream_flags & STREAM_READABLE:
            self.core.reactor.defer(self)

    cdef void read_more(self) noexcept:
        cdef Core core = self.core
        cdef ssize_t n
        cdef int rounds = 0
        cdef Chunk* c
        cdef Chunk* outer
        cdef Exchange e
        while self.stream_flags & (STREAM_READABLE | STREAM_PAUSED) == STREAM_READABLE:
            if self.state == UP_TUNNEL:
                e = self.exchange
                e.client.relay_back(e)
                return
            if self.state != UP_ACTIVE:
                return
            if rounds >= READ_ROUNDS:
                core.reactor.defer(self)
                return
            rounds += 1
            if self.inb != NULL:
                c = self.inb
                if c.cap - c.end < 1024:
                    c = chunk_grow(c, c.cap * 2)
                    if c == NULL:
                        self.drop(FAIL_RESOURCES)
                        return
                    self.inb = c
                n = self.receive(c.data + c.end, c.cap - c.end)
                if n > 0:
                    c.end += <uint32_t>n
                    self.inb = NULL
                    outer = core.feeding
                    core.feeding = c
                    self.feed(c.data, c.end)
                    if core.feeding == c:
                        chunk_free(c)
                    core.feeding = outer
            else:
                e = self.exchange
                if e.extras is None or e.extras.response_rate is None:
                    n = self.receive(core.rbuf, READ_SIZE)
                else:
                    # Which of two copies counts is not known yet: neither waits.
                    n = receive_within(e.extras.response_rate, self, e.client, core.rbuf, READ_SIZE, e.other is None)
                if n > 0:
                    self.feed(core.rbuf, <size_t>n)
            if n > 0:
                continue
            if n != IO_AGAIN:
                self.ended(n == IO_EOF)
            return

    cdef void feed(self, const char* p, size_t n) noexcept:
        cdef size_t used = 0
        self.got_any = True
        if self.head_done:
            self.arm()
            self.take_body(p, n, False)
            return
        # Interim heads may come before the final one, in the same bytes.
        while not self.head_done:
            if not self.take_head(p, n, &used):
                return
            p += used
            n -= used
            if n == 0 and not self.head_done:
                return
        self.take_body(p, n, True)

    cdef bint take_head(self, const char* p, size_t n, size_t* used) noexcept:
        """One head; true when it was complete and the exchange goes on."""
        cdef Core core = self.core
        cdef ResponseHead* h = core.response
        cdef Exchange e = self.exchange
        cdef const Field* field
        cdef int got
        if self.partial != NULL:
            memcpy(h, self.partial, response_head_size(self.partial))
        else:
            response_head_reset(h)
        got = parse_response_head(h, p, <uint32_t>n, &_limits, e.method)
        if got == PARSE_ERROR:
            self.malformed(p, n, n, False, reason_text(h.reason))
            return False
        if got == 0:
            self.keep_partial(p, n)
            return False
        free(self.partial)
        self.partial = NULL
        used[0] = <size_t>got
        if h.status < 200 and h.status != 101:
            self.interims += 1
            if self.interims > MAX_INTERIMS:
                self.malformed(p, n, 0, False, b"too many interim responses")
                return False
            self.arm()
            if e.other is not None:
                return True             # whose answer counts is not decided yet
            got = e.client.interim(e, h, p)
            if got == SENT_ERROR:
                e.client.gone()
                return False
            if got == SENT_PENDING:
                self.stream_flags |= STREAM_PAUSED      # read_more goes on when the client has taken it
            return True
        if h.framing == FRAMING_TUNNEL and not e.upgrade:
            # RFC 9110 section 15.2.2
            self.malformed(p, n, 0, False, b"101 to a request that did not ask for it")
            return False
        e.turn_to(self)
        if e.backend.retry.any_status and e.retries_status(h, p):
            self.drop(FAIL_STATUS)
            return False
        if self.uses == 1 and h.seen[FIELD_KEEP_ALIVE] and h.keep_alive:
            field = &h.fields[h.seen[FIELD_KEEP_ALIVE] - 1]
            learn_told(self.server, p + field.value, field.value_len)
        self.head_done = True
        self.head_base = p
        self.framing = h.framing
        self.keep = h.keep_alive
        self.body_left = h.content_length
        self.dechunk = h.framing == FRAMING_CHUNKED and e.minor == 0
        if h.framing == FRAMING_CHUNKED:
            chunked_reset(&self.chunked)
        self.arm()
        e.response_head(h)
        return True

    cdef void keep_partial(self, const char* p, size_t n) noexcept:
        cdef Core core = self.core
        cdef Chunk* c = core.feeding
        if self.partial == NULL:
            self.partial = <ResponseHead*>malloc(sizeof(ResponseHead))
            if self.partial == NULL:
                self.drop(FAIL_RESOURCES)
                return
        memcpy(self.partial, core.response, response_head_size(core.response))
        if c != NULL and p == c.data:
            core.feeding = NULL
            self.inb = c
            return
        c = chunk_new(n + 1024)
        if c == NULL:
            self.drop(FAIL_RESOURCES)
            return
        memcpy(c.data, p, n)
        c.end = <uint32_t>n
        self.inb = c

    cdef bint pass_on(self, const char* p, size_t n, bint with_head, bint end) noexcept:
        """Body bytes to the client; false when it has gone."""
        cdef Exchange e = self.exchange
        cdef ClientSide c = e.client
        cdef int sent
        if with_head:
            sent = c.respond(e, self.core.response, self.head_base, p, n, end)
        elif n:
            sent = c.relay(e, p, n)
        else:
            return True
        if sent == SENT_UNFIT:
            e.response_started = False          # nothing of it has gone out
            self.drop(FAIL_RESPONSE_TOO_LARGE)
            return False
        if sent == SENT_ERROR:
            c.gone()
            return False
        if sent == SENT_PENDING:
            self.stream_flags |= STREAM_PAUSED
        return True

    cdef void take_body(self, const char* p, size_t n, bint with_head) noexcept:
        cdef Exchange e = self.exchange
        cdef size_t take
        if self.framing == FRAMING_CHUNKED:
            if self.dechunk:
                self.decode_chunks(p, n, with_head)
            else:
                self.pass_chunks(p, n, with_head)
        elif self.framing == FRAMING_LENGTH:
            take = n if n < self.body_left else <size_t>self.body_left
            self.body_left -= take
            if self.pass_on(p, take, with_head, self.body_left == 0) and self.body_left == 0:
                self.finish(take == n)
        elif self.framing == FRAMING_NONE:
            if self.pass_on(NULL, 0, with_head, True):
                self.finish(n == 0)
        elif self.framing == FRAMING_EOF:
            self.pass_on(p, n, with_head, False)
        else:
            if not self.pass_on(p, n, with_head, False):
                return
            self.state = UP_TUNNEL
            self.tunnel = e.client
            self.stream_flags &= ~STREAM_PAUSED
            clear_deadline(self)
            e.client.become_tunnel(e)

    cdef void pass_chunks(self, const char* p, size_t n, bint with_head) noexcept:
        """Passes the chunks through as they are, after the same check a decoder would make."""
        cdef size_t used = 0
        cdef int got = chunked_scan(&self.chunked, p, n, &used)
        if got == CHUNK_ERROR:
            if with_head:
                self.exchange.response_started = False      # nothing of it has gone out: a clean 502 is still possible
            self.malformed(p, n, used, True, reason_text(self.chunked.reason))
            return
        if self.pass_on(p, used, with_head, got == CHUNK_END) and got == CHUNK_END:
            self.finish(used == n)

    cdef void decode_chunks(self, const char* p, size_t n, bint with_head) noexcept:
        cdef size_t used = 0
        cdef const char* data = NULL
        cdef size_t data_len = 0
        cdef const char* begin = p
        cdef int got
        if with_head and not self.pass_on(NULL, 0, True, False):
            return
        while True:
            used = 0
            got = chunked_next(&self.chunked, p, n, &used, &data, &data_len)
            p += used
            n -= used
            if got == CHUNK_DATA:
                if not self.pass_on(data, data_len, False, False):
                    return
            elif got == CHUNK_ERROR:
                self.malformed(begin, <size_t>(p - begin) + n, <size_t>(p - begin), True,
                               reason_text(self.chunked.reason))
                return
            elif got == CHUNK_END:
                self.finish(n == 0)
                return
            else:
                return

    cdef void finish(self, bint clean) noexcept:
        """The response is complete; `clean` when nothing came behind it."""
        cdef Exchange e = self.exchange
        cdef Server s = self.server
        cdef uint64_t now = self.core.reactor.now_ms
        self.exchange = None
        if (clean and self.keep and e.request_done and self.out == NULL and not self.core.draining
                and not self.send_failed
                and not self.stream_flags & (STREAM_EOF | STREAM_READABLE)
                and s.pool_size and not s.retired
                and (s.pool_max_requests == 0 or self.uses < s.pool_max_requests)
                and (s.pool_max_age_ms == 0 or now - self.born_ms < s.pool_max_age_ms)):
            self.state = UP_IDLE
            self.stream_flags &= ~STREAM_PAUSED
            set_deadline(self.core.reactor, self, idle_until(s, self, now))
            pool_put(s, self)
        else:
            self.shut(False)
        e.response_complete()

    cdef void ended(self, bint orderly) noexcept:
        """The server sends no more."""
        cdef Exchange e = self.exchange
        if e is None:
            self.shut(False)
        elif not self.got_any:
            e.turn_to(self)
            if e.reused:
                learn_close(self.server, self.begun_ms - self.idle_ms, self.core.reactor.now_ms)
            self.drop(FAIL_STALE if e.reused else FAIL_CLOSED)
        elif self.head_done and self.framing == FRAMING_EOF and orderly:
            self.keep = False
            self.finish(True)
        elif self.head_done or self.interims:
            self.drop(FAIL_TRUNCATED)
        else:
            self.drop(FAIL_CUT_HEAD)

    # --- leaving

    cdef void drop(self, int failure) noexcept:
        """This attempt failed: close, then tell the exchange."""
        cdef Exchange e = self.exchange
        self.exchange = None
        self.shut(True)
        if e is not None:
            e.turn_to(self)
            e.attempt_failed(failure)

    cdef void malformed(self, const char* p, size_t n, size_t at, bint body, const char* reason) noexcept:
        cdef Exchange e = self.exchange
        cdef Captured kept = e.backend.captured
        if kept.wanted(self.core.reactor.now_ms):
            if at == n and not body:
                at = response_fault(p, n, &_limits, e.method)
            kept.keep(p, n, at, -1 if body else 0, body, reason,
                      <int64_t>self.core.reactor.now_us + self.core.reactor.wall_offset_us)
            kept.about(e.front.name, self.server.name, e.client_text, e.client_len, e.client_port,
                       0 if e.response_started else 502)
        self.drop(FAIL_MALFORMED)

    cdef void cancel(self) noexcept:
        self.exchange = None
        # A reset would destroy what of a tunnel's last bytes the kernel has not delivered yet.
        self.shut(not tunnel_complete(self, self.tunnel))

    cdef bint alive(self) noexcept:
        cdef char one
        return recv(self.fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) < 0 and errno == EAGAIN

    cdef void shut(self, bint reset) noexcept:
        if self.state == UP_CLOSED:
            return
        if self.idle:
            pool_remove(self.server, self)
        self.state = UP_CLOSED
        self.tunnel = None
        connection_over(self.server, self.core)
        self.close_fd(reset)


cdef class H1Connector(Connector):
    """Opens plain connections for HTTP/1.1."""

    cdef ServerConnection open(self, Core core, Server server, Stream client, uint32_t connect_ms):
        cdef H1Upstream u = H1Upstream.__new__(H1Upstream)
        cdef int opened
        if FASTLB_DEBUG:
            live_counters()[LIVE_UPSTREAM] += 1
        opened = connection_open(self, core, server, u, connect_ms, False)
        if opened == OPEN_FAILED:
            return None
        u.born_ms = core.reactor.now_ms
        u.state = UP_ACTIVE if opened == OPEN_DONE else UP_CONNECTING
        return u
