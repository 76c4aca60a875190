"""Sockets towards servers, connected, one a flow at a time.

To open, connect, register and close a socket costs more than to carry a question and its answer. So one whose flow
ended with nothing left to come rests, and serves another flow to the same server later. Until it has rested for a while
nobody gets it: an answer that comes twice must not reach the next client. Whatever a socket hears while it rests closes
it. The kernel gives no longer rest to a port: at the rates for which this is done it hands one out again within
milliseconds, by chance. No socket lives long, so that ports stay hard to guess.

References: the reactor's, from `open` until `shut`.
"""

cimport cython
from fastlb._core.datagram cimport ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, SOCK_DGRAM, fl_keep_errors
from fastlb._core.debug cimport FASTLB_DEBUG, LIVE_UPSTREAM, live_counters
from fastlb._core.net cimport (
    EMFILE, ENFILE, EPOLLERR, EPOLLIN, SOCK_CLOEXEC, SOCK_NONBLOCK, SOL_SOCKET, SO_ERROR, close, connect, errno,
    getsockopt, sockaddr, socket, socklen_t)
from fastlb.balance.selector cimport USE_FAILED
from fastlb.engine.reactor cimport HANDLER_CLOSED
from fastlb.engine.stats cimport COUNT_CONNECTIONS, COUNT_CONNECT_ERRORS

cdef enum:
    REST_LEAST_MS = 100         # before another client gets it
    REST_LONG_MS = 250          # while few rest: rather open another
    REST_MOST_MS = 10000        # then it is closed
    LIFE_MS = 30000
    FEW = 2048
    MOST = 8192


cdef class SocketUser(EventHandler):
    """Whose a socket is."""

    cdef void on_socket(self, uint32_t events) noexcept: pass


@cython.final
@cython.no_gc
cdef class UdpSocket(EventHandler):
    """One socket, connected to a server."""

    def __cinit__(self):
        self.fd = -1
        if FASTLB_DEBUG:
            live_counters()[LIVE_UPSTREAM] += 1

    def __dealloc__(self):
        if FASTLB_DEBUG:
            live_counters()[LIVE_UPSTREAM] -= 1

    cdef void on_events(self, uint32_t events) noexcept:
        cdef int error = 0
        cdef socklen_t n = sizeof(error)
        cdef Backend b = self.backend
        if self.user is not None:
            self.user.on_socket(events)
            return
        if events & EPOLLERR:
            # What was sent last, with no answer awaited, did not arrive.
            getsockopt(self.fd, SOL_SOCKET, SO_ERROR, &error, &n)
            if error == ECONNREFUSED or error == EHOSTUNREACH or error == ENETUNREACH:
                self.server.counters[COUNT_CONNECT_ERRORS] += 1
                b.counters[COUNT_CONNECT_ERRORS] += 1
                if not self.server.retired and b.selector.take(self.slot):
                    b.selector.release(self.slot, USE_FAILED, 0, self.home.core.reactor.now_ms)
        self.home.unlink(self)
        self.shut()

    cdef void shut(self) noexcept:
        self.user = None
        self.home.core.reactor.remove(self)
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1


cdef class RestingSockets(EventHandler):
    """Those of a worker that have no flow. It has no descriptor, only a timer."""

    def __cinit__(self, Core core not None):
        self.core = core
        self.fd = -1

    cdef PyObject* get(self, Server server, bint no_answers, int* error) noexcept:
        cdef PyObject* p = self.rested(server, no_answers)
        if p != NULL:
            self.unlink(<UdpSocket>p)
            self.taken += 1
            return p
        p = self.open(server, error)
        if p == NULL and (error[0] == EMFILE or error[0] == ENFILE) and self.first != NULL:
            self.drop_oldest()
            p = self.open(server, error)
        return p

    cdef PyObject* rested(self, Server server, bint no_answers) noexcept:
        cdef PyObject* p = server.rest_last if no_answers else server.rest_first
        cdef uint64_t rested
        if p == NULL or (<UdpSocket>p).ready:
            return NULL             # or it has just heard something
        if no_answers:
            return p
        rested = self.core.reactor.now_ms - (<UdpSocket>p).rested_ms
        if rested < REST_LEAST_MS or (rested < REST_LONG_MS and self.count < FEW):
            return NULL
        return p

    cdef PyObject* open(self, Server server, int* error) noexcept:
        cdef UdpSocket s
        cdef int fd
        if server.address_len == 0:
            error[0] = EHOSTUNREACH
            return NULL
        fd = socket(server.address.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if fd < 0:
            error[0] = errno
            return NULL
        fl_keep_errors(fd, server.address.ss_family)
        if connect(fd, <sockaddr*>&server.address, server.address_len) < 0:
            error[0] = errno
            close(fd)
            return NULL
        s = UdpSocket.__new__(UdpSocket)
        s.fd = fd
        s.server = server
        s.home = self
        if self.core.reactor.add(s, EPOLLIN) < 0:
            error[0] = errno
            close(fd)
            return NULL
        s.opened_ms = self.core.reactor.now_ms
        self.opened += 1
        server.counters[COUNT_CONNECTIONS] += 1
        return <PyObject*>s

    cdef void put(self, UdpSocket s) noexcept:
        cdef uint64_t now = self.core.reactor.now_ms
        cdef Server server = s.server
        s.user = None
        if server.retired or now - s.opened_ms > LIFE_MS or self.handler_flags & HANDLER_CLOSED:
            s.shut()
            return
        if self.count >= MOST:
            self.drop_oldest()
        s.rested_ms = now
        s.rest_prev = server.rest_last
        if server.rest_last != NULL:
            (<UdpSocket>server.rest_last).rest_next = <PyObject*>s
        else:
            server.rest_first = <PyObject*>s
        server.rest_last = <PyObject*>s
        s.all_prev = self.last
        if self.last != NULL:
            (<UdpSocket>self.last).all_next = <PyObject*>s
        else:
            self.first = <PyObject*>s
        self.last = <PyObject*>s
        self.count += 1
        if self.deadline == 0:
            self.core.reactor.arm(self, now + REST_MOST_MS)

    cdef void unlink(self, UdpSocket s) noexcept:
        cdef Server server = s.server
        if s.rest_prev != NULL:
            (<UdpSocket>s.rest_prev).rest_next = s.rest_next
        else:
            server.rest_first = s.rest_next
        if s.rest_next != NULL:
            (<UdpSocket>s.rest_next).rest_prev = s.rest_prev
        else:
            server.rest_last = s.rest_prev
        if s.all_prev != NULL:
            (<UdpSocket>s.all_prev).all_next = s.all_next
        else:
            self.first = s.all_next
        if s.all_next != NULL:
            (<UdpSocket>s.all_next).all_prev = s.all_prev
        else:
            self.last = s.all_prev
        s.rest_next = NULL
        s.rest_prev = NULL
        s.all_next = NULL
        s.all_prev = NULL
        self.count -= 1

    cdef void drop_oldest(self) noexcept:
        cdef UdpSocket s
        if self.first != NULL:
            s = <UdpSocket>self.first
            self.unlink(s)
            s.shut()

    cdef void clear(self) noexcept:
        while self.first != NULL:
            self.drop_oldest()

    cdef void on_timer(self) noexcept:
        cdef uint64_t now = self.core.reactor.now_ms
        cdef uint64_t due
        while self.first != NULL:
            due = (<UdpSocket>self.first).rested_ms + REST_MOST_MS
            if due > now:
                self.core.reactor.arm(self, due)
                return
            self.drop_oldest()
