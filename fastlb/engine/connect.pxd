# Opens connections to servers.
from libc.stdint cimport uint32_t
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport ServerSide
from fastlb.engine.server cimport Connector, Server

cdef enum Opened:
    OPEN_FAILED = -1            # nothing is left of it; Connector.failure says whose fault it was
    OPEN_PENDING = 0            # bytes can be given to it, which leave when the network or TLS lets them
    OPEN_DONE = 1

# Makes `u`, which is new and in its first state, a connection to `server`: socket, TLS, event loop, PROXY header, and a
# deadline for what of it takes time. `speaks`: there are bytes to be sent as soon as it stands.
cdef int connection_open(Connector by, Core core, Server server, ServerSide u, uint32_t connect_ms,
                         bint speaks) noexcept
