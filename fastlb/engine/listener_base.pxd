# What a connection knows of the listener it came from.
from libc.stdint cimport uint16_t, uint32_t
from fastlb.engine.core cimport Core
from fastlb.engine.networks cimport Networks
from fastlb.engine.reactor cimport EventHandler
from fastlb.engine.tls_context cimport TlsServer
from fastlb.engine.upstream cimport Frontend

cdef class ListenerBase(EventHandler):
    cdef:
        Core core
        Frontend front          # snapshot in force; replaced as a whole
        uint16_t port
        bint https
        TlsServer tls           # None = plain
        Networks proxies        # whose connections begin with a PROXY header; None = nobody's
    # A connection was closed: accepting may go on.
    cdef void room(self) noexcept
    # Before leaving: takes what the kernel's queue holds.
    cdef void accept_rest(self) noexcept
    cdef void stop(self) noexcept
    # Milliseconds for the first thing that a client has to do, the handshake or the request head. 0 = unlimited.
    cdef inline uint32_t first_wait(self) noexcept:
        cdef uint32_t ms = self.front.header_ms
        if self.tls is not None and self.tls.handshake_ms and (ms == 0 or self.tls.handshake_ms < ms):
            ms = self.tls.handshake_ms
        return ms
