# Which backend gets a session: by source, and by what the ClientHello says.
from libc.stdint cimport uint32_t
from fastlb._core.net cimport sockaddr
from fastlb.engine.client_hello cimport Hello

cdef class TcpRouter:
    cdef:
        list routes             # of TcpRoute
        readonly bint reads     # some route asks for what only the ClientHello says
    # The first route that matches, -1 = none. `message` holds what `h` refers to; h = NULL: nothing known. O(routes).
    cdef int match(self, const char* message, const Hello* h, const sockaddr* client) noexcept
