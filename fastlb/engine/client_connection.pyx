"""A client connection, whatever it speaks: who the client is, how the connection becomes a tunnel, how it ends."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strlen
from fastlb._core.net cimport (
    AF_INET, AF_INET6, EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, MSG_PEEK, close, getsockname, ntohs, recv, sockaddr_in,
    sockaddr_storage, socklen_t)
from fastlb.engine.capture cimport Captured
from fastlb.engine.core cimport READ_SIZE
from fastlb.engine.error_log cimport LEVEL_INFO
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.log_record cimport LogRecord
from fastlb.engine.networks cimport ADDRESS_TEXT, format_address
from fastlb.engine.proxy_protocol cimport PROXY_BYTES, PROXY_MORE, ProxyHeader, proxy_parse
from fastlb.engine.rate_limit cimport RateVerdict
from fastlb.engine.reactor cimport set_deadline
from fastlb.engine.stats cimport COUNT_BAD_REQUESTS, COUNT_CONNECTIONS, COUNT_DENIED, COUNT_OPEN, COUNT_PEAK
from fastlb.engine.stream cimport (
    IO_AGAIN, IO_ERROR, STREAM_DONE, STREAM_EOF, STREAM_FINAL, STREAM_LAST, STREAM_READABLE)
from fastlb.engine.throttle cimport holds_back
from fastlb.engine.tls cimport tls_accept
from fastlb.engine.tunnel cimport TUNNEL_BROKEN, TUNNEL_ENDED, TUNNEL_OPEN, TUNNEL_REFUSED, tunnel_relay
from fastlb.engine.upstream cimport front_add, front_leave


cdef enum:
    LINGER_BYTES = 1048576
    LINGER_MS = 2000


cdef class ProxyLayer(Layer):
    """Reads the PROXY header that a connection begins with, and makes room for what is below.

    The header is looked at where it lies and taken out whole, so what follows it is still the kernel's to give.
    """

    cdef bint ready(self) noexcept:
        return False

    cdef int transmit(self, Stream s, const char* a, size_t an, const char* b, size_t bn) noexcept:
        return s.transmit_raw(a, an, b, bn)

    cdef ssize_t receive(self, Stream s, char* buf, size_t n) noexcept:
        cdef ClientConnection c = <ClientConnection>s
        cdef char* p = s.core.rbuf
        cdef ProxyHeader h
        cdef Layer _alive = self        # the connection lets go of it below
        cdef ssize_t got = recv(s.fd, p, PROXY_BYTES, MSG_PEEK)
        cdef int used
        if got <= 0:
            return s.receive_raw(p, PROXY_BYTES)    # tells an end from nothing yet, as ever
        used = proxy_parse(p, <size_t>got, &h)
        if used > 0 and recv(s.fd, p, <size_t>used, 0) == used:
            s.layer = self.inner
            return s.receive(buf, n) if c.introduced(&h) else IO_ERROR
        if used == PROXY_MORE and not s.stream_flags & STREAM_EOF:
            s.stream_flags &= ~STREAM_READABLE
            return IO_AGAIN
        if used == PROXY_MORE:
            h.reason = b"connection ended within the PROXY header"
        c.unintroduced(p, <size_t>got, h.reason)
        return IO_ERROR


cdef class ClientConnection(ClientSide):
    """Base of client connections."""

    def __dealloc__(self):
        free(self.reached)

    cdef bint introduced(self, const ProxyHeader* h) noexcept:
        """A proxy has said who the client is."""
        if not h.known:
            return True
        self.address = h.source
        self.reached = <sockaddr_in6*>malloc(sizeof(sockaddr_in6))
        if self.reached == NULL:
            return False
        self.reached[0] = h.destination
        if self.front.accepts is not None and not connection_allowed(self.core, self.front, self.peer()):
            return False
        return True

    cdef void unintroduced(self, const char* p, size_t n, const char* reason) noexcept:
        """What should have been a PROXY header is none: kept for whoever asks, as a malformed request is."""
        cdef Captured kept = self.front.captured
        cdef char text[ADDRESS_TEXT]
        self.front.counters[COUNT_BAD_REQUESTS] += 1
        if not kept.wanted(self.core.reactor.now_ms):
            return
        kept.keep(p, n, n, 0, False, reason, <int64_t>self.core.reactor.now_us + self.core.reactor.wall_offset_us)
        kept.about(self.front.name, None, text, format_address(self.peer(), text), self.peer_port(), 0)

    cdef bint take_over(self, Core core, ListenerBase listener, int fd, const sockaddr* peer) noexcept:
        cdef ProxyLayer p
        self.core = core
        self.fd = fd
        if listener.tls is not None:
            self.layer = tls_accept(core, listener.tls)
            if self.layer is None:
                close(fd)
                return False
        if listener.proxies is not None and listener.proxies.contains(peer):
            p = ProxyLayer.__new__(ProxyLayer)
            p.inner, self.layer = self.layer, p
        if peer.sa_family == AF_INET:
            memcpy(&self.address, peer, sizeof(sockaddr_in))
        elif peer.sa_family == AF_INET6:
            memcpy(&self.address, peer, sizeof(self.address))
        else:
            self.address.sin6_family = peer.sa_family
        if core.reactor.add(self, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) < 0:
            close(fd)
            return False
        self.enter(core, listener)
        if listener.first_wait():
            set_deadline(core.reactor, self, core.reactor.now_ms + listener.first_wait())
        # What the client sends first is often here already: reading now saves a round through epoll.
        self.stream_flags = STREAM_READABLE
        return True

    cdef void enter(self, Core core, ListenerBase listener) noexcept:
        """Joins the worker's list of clients."""
        self.core = core
        self.listener = listener
        self.front = listener.front
        self.counted = self.front.max_connections != 0      # by the listener, before it accepted
        core.clients += 1
        self.client_next = core.client_first
        self.client_pprev = &core.client_first
        if core.client_first != NULL:
            (<ClientConnection>core.client_first).client_pprev = &self.client_next
        core.client_first = <PyObject*>self
        self.front.counters[COUNT_CONNECTIONS] += 1
        self.front.counters[COUNT_OPEN] += 1
        if self.front.counters[COUNT_OPEN] > self.front.counters[COUNT_PEAK]:
            self.front.counters[COUNT_PEAK] = self.front.counters[COUNT_OPEN]

    cdef void drain_idle(self) noexcept:
        pass

    cdef void retire(self, uint32_t within_ms) noexcept:
        cdef uint64_t latest = self.core.reactor.now_ms + within_ms
        self.retiring = True
        self.close_after = True
        # A client that means to keep its idle connection gets to know with its next answer; at some time it must end.
        if self.state == CLIENT_HEAD and (self.deadline == 0 or self.deadline > latest):
            set_deadline(self.core.reactor, self, latest)

    cdef bint has_input(self) noexcept:
        return False

    cdef void forget_input(self) noexcept:
        pass

    cdef void relay_tunnel(self) noexcept:
        cdef Exchange e = self.exchange
        self._relayed(e, tunnel_relay(self, self.tunnel, &e.bytes_in,
                                      None if e.extras is None else e.extras.request_rate), True)

    cdef void relay_back(self, Exchange e) noexcept:
        self._relayed(e, tunnel_relay(self.tunnel, self, &e.bytes_out,
                                      None if e.extras is None else e.extras.response_rate), False)

    cdef void _relayed(self, Exchange e, int got, bint from_client) noexcept:
        cdef Stream up = self.tunnel
        if got == TUNNEL_OPEN:
            self.touch_tunnel(e)
            return
        if got == TUNNEL_REFUSED and from_client and not up.stream_flags & STREAM_DONE:
            # The server takes no more, but may have said why before it closed: the client gets that. Not held back for
            # our end, as closing over bytes of the client's that nobody reads would drop both for a reset.
            self.stream_flags = (self.stream_flags | STREAM_DONE) & ~STREAM_READABLE
            up.forget_out()
            up.stream_flags = (up.stream_flags | STREAM_READABLE) & ~STREAM_FINAL
            from_client = False
            got = tunnel_relay(up, self, &e.bytes_out, None)
            if got == TUNNEL_OPEN:
                self.touch_tunnel(e)
                return
            if e.bytes_out == 0:
                got = TUNNEL_BROKEN     # the kernel tells of a reset once, and the write was told
        if got != TUNNEL_ENDED and e.term[0] == c'-':
            e.term[0] = c'C' if from_client == (got == TUNNEL_BROKEN) else c'S'
            e.term[1] = c'D'
        e.tunnel_over(got != TUNNEL_ENDED)

    cdef bint held_back(self) noexcept:
        cdef Exchange e = self.exchange
        return e is not None and e.extras is not None and (
            holds_back(e.extras.request_rate) or holds_back(e.extras.response_rate))

    cdef void touch_tunnel(self, Exchange e) noexcept:
        cdef uint32_t ms = e.backend.tunnel_ms
        if (self.stream_flags | self.tunnel.stream_flags) & STREAM_DONE:
            ms = e.backend.half_closed_ms
        elif ms == 0 and e.front.tcp:
            ms = e.front.client_ms
            if ms == 0 or e.backend.server_ms and e.backend.server_ms < ms:
                ms = e.backend.server_ms
        if ms:
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + ms)

    cdef const sockaddr* peer(self) noexcept:
        return <const sockaddr*>&self.address

    cdef uint16_t peer_port(self) noexcept:
        if self.address.sin6_family == AF_INET:
            return ntohs((<sockaddr_in*>&self.address).sin_port)
        return ntohs(self.address.sin6_port) if self.address.sin6_family == AF_INET6 else 0

    cdef uint16_t local_port(self) noexcept:
        return ntohs(self.reached.sin6_port) if self.reached != NULL else self.listener.port

    cdef void local_address(self, sockaddr_storage* out) noexcept:
        cdef socklen_t n = sizeof(out[0])
        if self.reached != NULL:
            memcpy(out, self.reached, sizeof(sockaddr_in6))
        elif getsockname(self.fd, <sockaddr*>out, &n) < 0:
            out.ss_family = 0

    cdef bint https(self) noexcept:
        return self.listener.https

    # --- leaving

    cdef void leave(self) noexcept:
        """The last answer is out: close so that the client gets all of it."""
        if self.stream_flags & (STREAM_READABLE | STREAM_EOF) == STREAM_EOF:
            self.shut(False)            # all of it was read: nothing can come that would be answered with RST
        elif self.unread_body or self.has_input() or self.stream_flags & STREAM_READABLE:
            self.start_linger()
        else:
            # The answer was held back for our end, which must go out with it now: where unread bytes have come in
            # the meantime, close() alone would drop both for a reset.
            if self.stream_flags & STREAM_LAST:
                self.shut_write()
            self.shut(False)

    cdef void start_linger(self) noexcept:
        # Closing with unread bytes makes the kernel send RST, which can destroy the answer on its way
        # (RFC 9112 section 9.6).
        self.state = CLIENT_LINGER
        self.forget_input()
        self.lingered = 0
        self.shut_write()
        set_deadline(self.core.reactor, self, self.core.reactor.now_ms + LINGER_MS)
        if self.stream_flags & STREAM_READABLE:
            self.linger()

    cdef void linger(self) noexcept:
        cdef ssize_t n
        while self.stream_flags & STREAM_READABLE:
            # Past the layer, which has said goodbye already: nobody will read these bytes.
            n = self.receive_raw(self.core.rbuf, READ_SIZE)
            if n <= 0:
                if n != IO_AGAIN:
                    self.shut(False)
                return
            self.lingered += <uint32_t>n
            if self.lingered > LINGER_BYTES:
                self.shut(True)
                return

    cdef void gone(self) noexcept:
        cdef Exchange e = self.exchange
        self.exchange = None
        if e is not None:
            e.client_gone()
        self.shut(False)

    cdef void shut(self, bint reset) noexcept:
        cdef Exchange e = self.exchange
        cdef Core core = self.core
        if self.state == CLIENT_CLOSED:
            return
        self.state = CLIENT_CLOSED
        if e is not None:
            self.exchange = None
            e.client_gone()
        self.tunnel = None
        core.clients -= 1
        self.client_pprev[0] = self.client_next
        if self.client_next != NULL:
            (<ClientConnection>self.client_next).client_pprev = self.client_pprev
        self.listener.front.counters[COUNT_OPEN] -= 1
        if self.counted:
            front_leave(self.listener.front)
        self.listener.room()
        self.close_fd(reset)


cdef bint connection_allowed(Core core, Frontend front, const sockaddr* peer) noexcept:
    cdef RateVerdict v
    cdef LogRecord r
    cdef char text[ADDRESS_TEXT]
    cdef uint32_t owed = 0
    cdef bint ok = front.accepts.admit(NULL, NULL, peer, core.reactor.now_us, &owed, &v)
    if not ok:
        front.counters[COUNT_DENIED] += 1
    if (v.dry or not ok) and core.errors is not None:
        memset(&r, 0, sizeof(r))
        r.start_us = <int64_t>core.reactor.now_us + core.reactor.wall_offset_us
        r.frontend = front.name
        r.frontend_len = <uint32_t>len(front.name)
        r.client = text
        r.client_len = format_address(peer, text)
        r.reason = b"rate limit of connections (dry run)" if ok else b"rate limit of connections"
        r.reason_len = <uint32_t>strlen(r.reason)
        core.errors.log_failure(&r, LEVEL_INFO)
    return ok


cdef void clients_retire(Core core, ListenerBase listener, uint32_t within_ms) noexcept:
    cdef PyObject* p = core.client_first
    cdef ClientConnection c
    while p != NULL:
        c = <ClientConnection>p
        p = c.client_next
        if listener is None or c.listener is listener:
            c.retire(within_ms)


cdef void clients_count(Core core) noexcept:
    cdef PyObject* p = core.client_first
    cdef ClientConnection c
    while p != NULL:
        c = <ClientConnection>p
        p = c.client_next
        if c.listener.front.max_connections and not c.counted:
            c.counted = True
            front_add(c.listener.front)


cdef void clients_drain(Core core, bint now) noexcept:
    cdef PyObject* p = core.client_first
    cdef PyObject* following
    cdef ClientConnection c
    while p != NULL:
        c = <ClientConnection>p
        following = c.client_next
        if now:
            c.shut(True)
        else:
            c.drain_idle()
        p = following
