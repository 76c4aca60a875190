"""A client connection, whatever it speaks: who the client is, how the connection becomes a tunnel, how it ends."""

from cpython.object cimport PyObject
from fastlb._core.net cimport AF_INET, AF_INET6, ntohs, sockaddr_in
from fastlb.engine.core cimport READ_SIZE
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.reactor cimport set_deadline
from fastlb.engine.stats cimport COUNT_CONNECTIONS, COUNT_OPEN, COUNT_PEAK
from fastlb.engine.stream cimport IO_AGAIN, STREAM_DONE, STREAM_EOF, STREAM_READABLE
from fastlb.engine.tunnel cimport HALF_CLOSED_MS, TUNNEL_BROKEN, TUNNEL_OPEN, tunnel_relay

cdef enum:
    LINGER_BYTES = 1048576
    LINGER_MS = 2000


cdef class ClientConnection(ClientSide):
    """Base of client connections."""

    cdef void enter(self, Core core, ListenerBase listener) noexcept:
        """Joins the worker's list of clients."""
        self.core = core
        self.listener = listener
        self.front = listener.front
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
        cdef int got = tunnel_relay(self, self.tunnel, &e.bytes_in)
        if got != TUNNEL_OPEN:
            e.tunnel_over(got == TUNNEL_BROKEN)
        else:
            self.touch_tunnel(e)

    cdef void touch_tunnel(self, Exchange e) noexcept:
        cdef uint64_t ms = e.backend.tunnel_ms
        if (self.stream_flags | self.tunnel.stream_flags) & STREAM_DONE:
            ms = HALF_CLOSED_MS
        if ms:
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + ms)

    cdef void tunnel_activity(self, Exchange e) noexcept:
        self.touch_tunnel(e)

    cdef const sockaddr* peer(self) noexcept:
        return <const sockaddr*>&self.address

    cdef uint16_t peer_port(self) noexcept:
        if self.address.sin6_family == AF_INET:
            return ntohs((<sockaddr_in*>&self.address).sin_port)
        return ntohs(self.address.sin6_port) if self.address.sin6_family == AF_INET6 else 0

    cdef uint16_t local_port(self) noexcept:
        return self.listener.port

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
        self.listener.room()
        self.close_fd(reset)


cdef void clients_retire(Core core, ListenerBase listener, uint32_t within_ms) noexcept:
    cdef PyObject* p = core.client_first
    cdef ClientConnection c
    while p != NULL:
        c = <ClientConnection>p
        p = c.client_next
        if c.listener is listener:
            c.retire(within_ms)


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
