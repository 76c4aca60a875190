# Opens the socket of a connection to a server.
from libc.stdint cimport uint8_t, uint32_t
from fastlb.engine.server cimport Server

# A non-blocking socket that is connected, or connecting (pending[0] true then). < 0 when that failed at once: -1 the
# server's fault or the network's, -2 ours (no descriptor, no memory, no such interface or source address).
cdef int connect_server(Server server, bint* pending) noexcept
