"""Accepts connections, and pauses while there is no room for more.

The descriptor is level-triggered: what one turn leaves in the kernel's queue comes back with the next batch. At the
limit of descriptors or connections the listener leaves the epoll set and the queue waits in the kernel; it returns
when a connection has closed, or after 100 ms.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memset
from fastlb._core.debug cimport FASTLB_DEBUG, LIVE_LISTENER, live_counters
from fastlb._core.net cimport (
    ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPOLLIN, EPOLL_CTL_ADD, EPOLL_CTL_DEL, SOCK_CLOEXEC,
    SOCK_NONBLOCK, accept4, close, epoll_ctl, epoll_event, errno, sockaddr, sockaddr_storage, socklen_t)
from fastlb.engine.client_connection cimport connection_allowed
from fastlb.engine.core cimport Core
from fastlb.engine.h1_client cimport client_accept
from fastlb.engine.networks cimport Networks
from fastlb.engine.reactor cimport set_deadline
from fastlb.engine.tcp_session cimport tcp_accept
from fastlb.engine.tls cimport tls_prepare
from fastlb.engine.tls_context cimport TlsServer
from fastlb.engine.upstream cimport Frontend, front_enter, front_leave

import logging

cdef enum:
    ACCEPTS = 32                # a turn
    PAUSE_MS = 100

_log = logging.getLogger("fastlb.engine")


cdef class Listener(ListenerBase):
    """One listening socket of one frontend."""

    def __init__(self, Core core not None, Frontend front not None, int fd, int port, TlsServer tls=None):
        """Takes over `fd`, a listening socket in non-blocking mode; `tls` None = plain."""
        self.core = core
        self.front = front
        self.fd = fd
        self.port = port
        self.https = tls is not None
        self.tls = tls
        if tls is not None and not tls_prepare(core):
            raise MemoryError
        if core.reactor.add(self, EPOLLIN) < 0:
            raise OSError(errno, "epoll_ctl")
        self.accepting = True
        if FASTLB_DEBUG:
            live_counters()[LIVE_LISTENER] += 1

    def replace(self, Frontend front not None, TlsServer tls=None):
        """New snapshot: requests that begin from now on use it, and handshakes the new certificates."""
        self.front = front
        if self.https and tls is not None:
            self.tls = tls

    def expect(self, Networks proxies):
        """Connections from these networks begin with a PROXY header from now on; None: no connection does."""
        self.proxies = proxies

    def close(self):
        """Stops accepting for good."""
        self.stop()

    cdef void on_events(self, uint32_t events) noexcept:
        self.accept_some()

    cdef void on_timer(self) noexcept:
        self.room()

    cdef void accept_some(self) noexcept:
        cdef int _i, fd
        cdef sockaddr_storage peer
        cdef socklen_t n
        cdef Frontend front = self.front
        cdef bint taken
        for _i in range(ACCEPTS):
            if self.core.clients >= self.core.max_clients:
                self.pause(b"overload" if self.core.max_clients == 0 else b"connection limit of the worker reached")
                return
            if front.max_connections and not front_enter(front):
                self.pause(b"max_connections of the frontend reached")
                return
            n = sizeof(peer)
            fd = accept4(self.fd, <sockaddr*>&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd < 0:
                if front.max_connections:
                    front_leave(front)
                if errno == EINTR or errno == ECONNABORTED:
                    continue
                if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                    self.core.starved_ms = self.core.reactor.now_ms
                    self.pause(b"out of descriptors or memory")
                return
            if front.accepts is not None and not self.welcome(fd, <sockaddr*>&peer):
                if front.max_connections:
                    front_leave(front)
                continue
            if front.tcp:
                taken = tcp_accept(self.core, self, fd, <sockaddr*>&peer)
            else:
                taken = client_accept(self.core, self, fd, <sockaddr*>&peer)
            if front.max_connections and not taken:
                front_leave(front)

    cdef bint welcome(self, int fd, const sockaddr* peer) noexcept:
        """Counts a new connection by the rate limits; what is over is closed. Behind a proxy that says who the client
        is, ClientConnection.introduced asks instead."""
        if self.proxies is not None and self.proxies.contains(peer):
            return True
        if connection_allowed(self.core, self.front, peer):
            return True
        close(fd)
        return False

    cdef void accept_rest(self) noexcept:
        cdef uint32_t before
        cdef int _turn
        # Bounded: a flood of new connections must not keep a leaving worker.
        for _turn in range(64):
            before = self.core.clients
            self.accept_some()
            if self.core.clients == before or not self.accepting:
                return

    cdef void pause(self, const char* why) noexcept:
        if not self.accepting:
            return
        self.accepting = False
        epoll_ctl(self.core.reactor.ep, EPOLL_CTL_DEL, self.fd, NULL)
        set_deadline(self.core.reactor, self, self.core.reactor.now_ms + PAUSE_MS)
        if not self.warned:
            self.warned = True
            report_pause(self.front.name, why)

    cdef void room(self) noexcept:
        cdef epoll_event ev
        if self.accepting or self.fd < 0 or self.core.draining:
            return
        if self.core.clients >= self.core.max_clients:
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + PAUSE_MS)
            return
        memset(&ev, 0, sizeof(ev))
        ev.events = EPOLLIN
        ev.data.ptr = <void*>self
        if epoll_ctl(self.core.reactor.ep, EPOLL_CTL_ADD, self.fd, &ev) == 0:
            self.accepting = True
        else:
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + PAUSE_MS)

    cdef void stop(self) noexcept:
        if self.fd < 0:
            return
        if FASTLB_DEBUG:
            live_counters()[LIVE_LISTENER] -= 1
        # The supervisor holds the same open socket: closing ours alone would leave it in the epoll set.
        if self.accepting:
            epoll_ctl(self.core.reactor.ep, EPOLL_CTL_DEL, self.fd, NULL)
        self.accepting = False
        self.core.reactor.remove(self)
        close(self.fd)
        self.fd = -1


cdef void report_pause(bytes name, const char* why) noexcept:
    # Once a listener: a log line for each pause would itself be an overload.
    try:
        _log.warning("frontend %s: accepting pauses: %s", name.decode(), (<bytes>why).decode())
    except Exception:
        pass
