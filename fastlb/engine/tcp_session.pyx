"""Layer 4: a client connection passed on to a server as it is.

A session is an exchange like any other, so picking, retries, queues, limits, drain, outcomes and the log are those of
HTTP; only there is no head, and what follows the connection to the server is a tunnel from the beginning. What the
client sends before there is a server stays in the kernel, but for a first read that is kept until a connection takes
it, so a further attempt loses nothing.
"""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from fastlb._core.atomics cimport fl_load32, fl_store32
from fastlb._core.debug cimport FASTLB_DEBUG, LIVE_CLIENT, LIVE_UPSTREAM, live_counters
from fastlb._core.net cimport (
    AF_UNIX, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, MSG_NOSIGNAL, send, sockaddr)
from fastlb.balance.selector cimport USE_FAILED, USE_OK
from fastlb.engine.buffer cimport chunk_free, chunk_grow, chunk_new
from fastlb.engine.client_connection cimport CLIENT_HEAD, CLIENT_TUNNEL, CLIENT_WAIT
from fastlb.engine.client_hello cimport HELLO_INPUT, HELLO_MORE, HELLO_NONE, hello_parse
from fastlb.engine.connect cimport OPEN_DONE, OPEN_FAILED, connection_open
from fastlb.engine.core cimport READ_SIZE
from fastlb.engine.paired_exchange cimport exchange_new
from fastlb.engine.failure cimport FAIL_CONNECT, FAIL_CONNECT_TIMEOUT
from fastlb.engine.networks cimport format_address
from fastlb.engine.reactor cimport clear_deadline, set_deadline
from fastlb.engine.server cimport Server, ServerConnection, connection_over
from fastlb.engine.stats cimport COUNT_CURRENT
from fastlb.engine.sticking cimport stick_session, touch_session
from fastlb.engine.tcp_admission cimport admit_session
from fastlb.engine.tls_context cimport TlsLayer
from fastlb.engine.stream cimport (
    IO_AGAIN, IO_EOF, SENT_ALL, SENT_ERROR, SENT_PENDING, STREAM_CLOSED, STREAM_EOF, STREAM_FINAL, STREAM_PAUSED,
    STREAM_READABLE)
from fastlb.engine.tunnel cimport TUNNEL_REFUSED, tunnel_complete, tunnel_drained
from fastlb.engine.upstream cimport Backend


cdef enum:
    FIRST_READ = 4096           # of what the client says before there is a server
    SETTLED_MS = 1000           # a session that stands for so long has begun well
    USELESS = 502               # never told: nobody speaks HTTP here


@cython.final
@cython.no_gc
cdef class TcpClient(ClientConnection):
    """The client's side of a session."""

    def __dealloc__(self):
        if FASTLB_DEBUG:
            live_counters()[LIVE_CLIENT] -= 1
        chunk_free(self.inb)

    # --- events

    cdef void on_events(self, uint32_t events) noexcept:
        cdef int sent
        if events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR):
            self.stream_flags |= STREAM_EOF
        if events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP | EPOLLERR):
            self.stream_flags |= STREAM_READABLE
        if self.state == CLIENT_TUNNEL:
            if events & EPOLLOUT and self.out != NULL:
                sent = self.flush()
                if sent == SENT_ERROR or (sent == SENT_ALL and tunnel_drained(self, self.tunnel)):
                    self.exchange.tunnel_over(sent == SENT_ERROR)
                    return
                self.touch_tunnel(self.exchange)
            if self.stream_flags & STREAM_READABLE:
                self.relay_tunnel()
        elif events & (EPOLLHUP | EPOLLERR) or (
                events & EPOLLRDHUP and self.exchange is not None and self.exchange.parked is not None):
            # Reset, or ended both ways. An end of its sending side alone is carried across once there is a server;
            # who is held back to be refused will never have one.
            self.gone()
        else:
            if events & EPOLLOUT and self.out != NULL and self.flush() == SENT_ERROR:
                self.gone()
            elif self.state == CLIENT_HEAD and self.stream_flags & STREAM_READABLE:
                self.prelude()

    cdef void on_deferred(self) noexcept:
        if not self.stream_flags & STREAM_READABLE:
            return
        if self.state == CLIENT_TUNNEL:
            self.relay_tunnel()
        elif self.state == CLIENT_HEAD:
            self.prelude()

    cdef void on_timer(self) noexcept:
        cdef Exchange e = self.exchange
        if self.state == CLIENT_HEAD:
            if self.layer is not None and not self.layer.ready():
                self.layer.expired()
            self.refuse(b"cR", b"handshake or ClientHello did not end in time")
        elif self.state == CLIENT_TUNNEL and self.held_back():
            self.touch_tunnel(e)
        elif self.state == CLIENT_TUNNEL:
            e.term[0] = c'c' if self.tunnel.out == NULL else c's'
            e.term[1] = c'D'
            e.tunnel_over(False)
        elif e is not None:
            e.client_timed_out()

    # --- before there is a server

    cdef void prelude(self) noexcept:
        cdef Core core = self.core
        cdef ssize_t n
        cdef Hello h
        if not self.passable():
            n = self.receive(core.rbuf, READ_SIZE)
            if n > 0:
                if not self.keep(core.rbuf, <size_t>n):
                    self.shut(True)
                    return
            elif n != IO_AGAIN and not (n == IO_EOF and self.passable()):
                self.refuse(b"PR", b"handshake failed")
                return
            if not self.passable():
                return
        if not self.front.sessions.reads:
            self.begin(NULL)
        elif self.hear(&h):
            self.begin(&h if h.name_len or h.alpn_len else NULL)

    cdef bint hear(self, Hello* h) noexcept:
        cdef Core core = self.core
        cdef ssize_t n
        cdef int got
        while True:
            got = HELLO_MORE
            if self.inb != NULL:
                got = hello_parse(self.inb.data, self.inb.end, core.obuf, h)
            if got == HELLO_NONE:
                memset(h, 0, sizeof(h[0]))
            if got != HELLO_MORE:
                return True
            n = self.receive(core.rbuf, HELLO_INPUT) if self.stream_flags & STREAM_READABLE else IO_AGAIN
            if n > 0:
                if not self.keep(core.rbuf, <size_t>n):
                    self.shut(True)
                    return False
            elif n == IO_AGAIN:
                return False
            elif n == IO_EOF and self.inb != NULL:
                memset(h, 0, sizeof(h[0]))
                self.stream_flags |= STREAM_READABLE    # the end is still to be carried across
                return True             # all that it had to say, and no ClientHello
            else:
                self.refuse(b"CR", b"client closed before its ClientHello was complete")
                return False

    cdef bint passable(self) noexcept:
        return self.layer is None or self.layer.ready()

    cdef bint keep(self, const char* p, size_t n) noexcept:
        """Keeps bytes for the server, behind those that are kept already."""
        cdef Chunk* c = self.inb
        if c == NULL:
            c = chunk_new(n)
        elif c.cap - c.end < n:
            c = chunk_grow(c, c.end - c.start + n)
        if c == NULL:
            return False
        memcpy(c.data + c.end, p, n)
        c.end += <uint32_t>n
        self.inb = c
        return True

    cdef void begin(self, const Hello* h) noexcept:
        """The session begins."""
        cdef Exchange e
        clear_deadline(self)
        e = self.make_exchange()
        if h != NULL:
            self.remember(e, h)
        admit_session(e, h)

    cdef void remember(self, Exchange e, const Hello* h) noexcept:
        """For the log, and the servers that are told."""
        cdef const char* message = self.core.obuf
        cdef uint32_t first = <uint8_t>message[h.alpn] if h.alpn_len else 0
        cdef Chunk* c = chunk_new(h.name_len + first)
        if c == NULL:
            return
        memcpy(c.data, message + h.name, h.name_len)
        memcpy(c.data + h.name_len, message + h.alpn + 1, first)
        e.saved = c
        e.host.len = h.name_len
        e.alpn.off = h.name_len
        e.alpn.len = first

    cdef Exchange make_exchange(self):
        cdef Core core = self.core
        cdef Exchange e = exchange_new(core, self.front)
        self.exchange = e
        self.state = CLIENT_WAIT
        e.client = self
        e.start_us = self.start_us
        e.head_us = core.reactor.now_us
        e.request_done = True
        e.client_len = format_address(self.peer(), e.client_text)
        e.client_port = self.peer_port()
        e.https = self.listener.https
        if e.https:
            e.tls = <TlsLayer>self.layer
        self.front.counters[COUNT_CURRENT] += 1
        return e

    cdef void refuse(self, const char* term, const char* reason) noexcept:
        self.make_exchange().fail(400, term, reason)

    # --- what the exchange says

    cdef void become_tunnel(self, Exchange e) noexcept:
        cdef Chunk* c = self.inb
        cdef int sent = SENT_ALL
        self.state = CLIENT_TUNNEL
        self.tunnel = e.up
        self.touch_tunnel(e)
        if c != NULL:
            self.inb = NULL
            e.bytes_in += c.end
            if c.start < c.end:
                sent = self.tunnel.transmit(c.data + c.start, c.end - c.start, NULL, 0)
            chunk_free(c)
            if sent == SENT_ERROR:
                self._relayed(e, TUNNEL_REFUSED, True)
                return
            if sent == SENT_PENDING:
                self.stream_flags |= STREAM_PAUSED
        if self.stream_flags & STREAM_READABLE:
            self.relay_tunnel()

    cdef bint look_ahead(self) noexcept:
        cdef Chunk* c
        cdef ssize_t n
        if self.inb != NULL:
            return True
        # Under a limit of bandwidth every byte is asked for; inside TLS there is no telling what is a word.
        if not self.stream_flags & STREAM_READABLE or self.layer is not None or self.exchange.extras is not None:
            return False
        c = chunk_new(FIRST_READ)
        if c == NULL:
            return False
        n = self.receive_raw(c.data, FIRST_READ)
        if n <= 0:
            if n != IO_AGAIN:
                self.stream_flags |= STREAM_READABLE    # the end is for the tunnel to meet again
            chunk_free(c)
            return False
        c.end = <uint32_t>n
        self.inb = c
        return True

    cdef void wait_until(self, uint64_t deadline_ms) noexcept:
        if deadline_ms:
            set_deadline(self.core.reactor, self, deadline_ms)
        else:
            clear_deadline(self)

    cdef void answer(self, Exchange e, const char* p, size_t n, bint close) noexcept:
        """There is none: the session ended before it had a server."""
        self.exchange = None
        self.shut(False)

    cdef void break_off(self, Exchange e, bint reset) noexcept:
        self.exchange = None
        self.shut(reset)

    cdef void drain_idle(self) noexcept:
        """The worker is leaving: a session goes on as long as it is given time; one that has not begun does not."""
        if self.state == CLIENT_HEAD:
            self.shut(False)


@cython.final
@cython.no_gc
cdef class TcpUpstream(ServerSide):
    """The server's side of a session."""

    def __dealloc__(self):
        if FASTLB_DEBUG:
            live_counters()[LIVE_UPSTREAM] -= 1

    # --- events

    cdef void on_events(self, uint32_t events) noexcept:
        cdef Exchange e = self.exchange
        cdef int sent
        if events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR):
            self.stream_flags |= STREAM_EOF
            if self.tunnel is not None and not self.tunnel.stream_flags & STREAM_EOF:
                self.left_first = True
            # Before an urgent byte, and between the messages of a Unix socket, a read can be short of the end.
            if (not events & (EPOLLERR | EPOLLPRI) and self.layer is None
                    and self.server.address.ss_family != AF_UNIX):
                self.stream_flags |= STREAM_FINAL
        if events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP | EPOLLERR):
            self.stream_flags |= STREAM_READABLE
        if self.state == TCP_CONNECTING:
            if self.layer is not None:
                self.handshake()        # before all else: the server may have said why it left
            elif events & EPOLLOUT and not events & (EPOLLERR | EPOLLHUP):
                self.established()
            if self.state == TCP_CONNECTING and events & (EPOLLERR | EPOLLHUP):
                self.drop(FAIL_CONNECT)
                return
            if self.state != TCP_TUNNEL or self.stream_flags & STREAM_CLOSED:
                return
        if e is None:
            return
        if events & EPOLLOUT and self.out != NULL:
            sent = self.flush()
            if sent == SENT_ERROR:
                self.forget_out()       # reading tells how it ended
                self.stream_flags |= STREAM_READABLE
            elif sent == SENT_ALL and tunnel_drained(self, self.tunnel):
                e.tunnel_over(False)
                return
            e.client.relay_back(e)      # progress, if nothing else
        elif self.stream_flags & STREAM_READABLE:
            e.client.relay_back(e)

    cdef void on_deferred(self) noexcept:
        if self.state == TCP_TUNNEL and self.stream_flags & STREAM_READABLE:
            self.exchange.client.relay_back(self.exchange)

    cdef void on_timer(self) noexcept:
        if self.state == TCP_CONNECTING:
            self.drop(FAIL_CONNECT_TIMEOUT)
        elif self.state == TCP_TUNNEL:
            self.settle(self.exchange)

    # --- what the exchange says

    cdef void begin(self, Exchange e) noexcept:
        self.exchange = e
        if self.state == TCP_CONNECTED:
            self.established()
        elif self.layer is not None:
            self.handshake()
        elif self.out == NULL and self.speak_first(<TcpClient>e.client):
            self.established()          # a handshake that is over already: no turn of the loop for it

    cdef bint speak_first(self, TcpClient c) noexcept:
        cdef Chunk* first = c.inb
        cdef ssize_t n
        if first == NULL:
            return False
        # Where the connection is not there yet, or has failed already, an event tells.
        n = send(self.fd, first.data + first.start, first.end - first.start, MSG_NOSIGNAL)
        if n <= 0:
            return False
        first.start += <uint32_t>n
        return True

    cdef void handshake(self) noexcept:
        """TLS goes on; a handshake that fails counts as a connection that failed."""
        cdef int got
        if self.out != NULL and self.flush() == SENT_ERROR:
            self.drop(FAIL_CONNECT)
            return
        got = self.layer.establish(self)
        if got < 0:
            self.drop(FAIL_CONNECT)
        elif got > 0:
            self.established()

    cdef void established(self) noexcept:
        cdef Exchange e = self.exchange
        cdef Backend b = e.backend
        self.state = TCP_TUNNEL
        self.born_ms = self.core.reactor.now_ms
        self.tunnel = e.client
        self.left_first = (self.stream_flags & STREAM_EOF) > (e.client.stream_flags & STREAM_EOF)
        clear_deadline(self)
        e.connected()
        # The time to the connection is what is known of how fast the server is; none at all would say nothing.
        if e.connected_us == e.attempt_us:
            e.connected_us += 1
        e.response_us = e.connected_us
        e.response_started = True
        e.reason = NULL
        e.status = 0                    # what an attempt before failed with says nothing about this server
        memcpy(e.term, b"--", 2)
        if b.affinity is not None:
            stick_session(e)
        if b.guard is not None or fl_load32(&b.selector.servers.slots[e.slot].line.failures_in_a_row):
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + SETTLED_MS)
        e.client.become_tunnel(e)
        # What came together with the end of the handshake lies in the layer: no event will tell of it.
        if self.layer is not None and self.stream_flags & STREAM_READABLE and self.state == TCP_TUNNEL:
            self.core.reactor.defer(self)

    cdef bint useless(self, Exchange e) noexcept:
        """The server has broken the session off, or ended it unasked and at once, before it said a word. One that waits
        in vain for a first word ends later: browsers connect ahead of need."""
        return e.bytes_out == 0 and (e.term[0] == c'S' or (
            self.left_first and e.bytes_in == 0 and self.core.reactor.now_ms - self.born_ms <= 2 * SETTLED_MS))

    cdef void settle(self, Exchange e) noexcept:
        """The session stands for a while: that is how its server did. Its end may be hours away, and until then neither
        a circuit breaker's trial nor failures in a row may wait for it."""
        cdef Backend b = e.backend
        cdef uint32_t* failures = &b.selector.servers.slots[e.slot].line.failures_in_a_row
        cdef uint32_t latency = <uint32_t>(e.response_us - e.attempt_us)
        if self.useless(e):
            e.status = USELESS
        elif fl_load32(failures):
            fl_store32(failures, 0)
        if b.guard is None:
            return
        e.judge(USE_FAILED if e.status else USE_OK, latency)
        e.judged = True
        if e.entry:
            b.guard.settle(&e.entry, e.status != 0, latency, self.core.reactor.now_ms)

    cdef void drop(self, int failure) noexcept:
        """This attempt failed: close, then tell the exchange."""
        cdef Exchange e = self.exchange
        self.exchange = None
        self.shut(True)
        if e is not None:
            e.attempt_failed(failure)

    cdef void cancel(self) noexcept:
        cdef Exchange e = self.exchange
        if self.state == TCP_TUNNEL and e is not None:
            if self.useless(e):
                e.status = USELESS      # the exchange counts it as a failure of the server
            if e.backend.affinity is not None:
                touch_session(e)
        self.exchange = None
        # A reset would destroy what the kernel has not delivered yet.
        self.shut(not tunnel_complete(self, self.tunnel))

    cdef void shut(self, bint reset) noexcept:
        if self.state == TCP_CLOSED:
            return
        self.state = TCP_CLOSED
        self.tunnel = None
        connection_over(self.server, self.core)
        self.close_fd(reset)


cdef class TcpConnector(Connector):
    """Opens connections for sessions."""

    cdef ServerConnection open(self, Core core, Server server, Stream client, uint32_t connect_ms):
        cdef TcpUpstream u = TcpUpstream.__new__(TcpUpstream)
        cdef int opened
        if FASTLB_DEBUG:
            live_counters()[LIVE_UPSTREAM] += 1
        opened = connection_open(self, core, server, u, connect_ms, (<TcpClient>client).look_ahead())
        if opened == OPEN_FAILED:
            return None
        u.state = TCP_CONNECTED if opened == OPEN_DONE else TCP_CONNECTING
        return u


cdef bint tcp_accept(Core core, ListenerBase listener, int fd, const sockaddr* peer) noexcept:
    cdef TcpClient c = TcpClient.__new__(TcpClient)
    if FASTLB_DEBUG:
        live_counters()[LIVE_CLIENT] += 1
    if not c.take_over(core, listener, fd, peer):
        return False
    c.start_us = core.reactor.now_us
    c.prelude()
    return True
