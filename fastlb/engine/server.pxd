# One member of a backend as a worker sees it, and its idle connections.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from cpython.object cimport PyObject
from fastlb._core.net cimport sockaddr_storage, socklen_t
from fastlb.engine.core cimport Core
from fastlb.engine.stream cimport Stream
from fastlb.engine.tls_context cimport TlsClient

cdef enum:
    MAX_OPTIONS = 12

# Of the sockets of connections to a server, beyond TCP_NODELAY.
cdef struct SocketOptions:
    int count
    int[MAX_OPTIONS] level
    int[MAX_OPTIONS] name
    int[MAX_OPTIONS] value
    char[16] interface          # empty = any
    bint from_client            # they come from the client's own address
    sockaddr_storage source     # else from here
    socklen_t source_len        # 0 = the kernel's choice

cdef class Server:
    cdef:
        SocketOptions* options      # NULL = none
        readonly bytes name
        readonly str address_text
        sockaddr_storage address
        socklen_t address_len       # 0 = the name did not resolve
        uint64_t* counters
        # Idle connections, most recently used first. References belong to the reactor.
        PyObject* idle_first
        PyObject* idle_last
        uint32_t idle_count
        uint32_t open_count         # connections of this worker, idle ones included
        PyObject* pools_prev        # Servers of this worker that have idle connections; see pools_give_way
        PyObject* pools_next
        # Its sockets of mode udp that rest, the longest first; see udp_socket.
        PyObject* rest_first
        PyObject* rest_last
        TlsClient tls               # None = plain
        bint retired                # left the configuration: its connections are not kept
        uint8_t proxy               # version of the PROXY header that its connections begin with; 0 = none
        uint32_t proxy_tlvs         # PROXY_*
        uint32_t pool_size
        uint32_t pool_idle_ms
        uint64_t pool_max_age_ms    # 0 = unlimited
        uint32_t pool_max_requests  # 0 = unlimited
        # How long the server keeps idle connections, as far as is known; see learn_close.
        uint32_t guard_ms           # they are closed, and not used again, after this long; 0 = not known
        bint told                   # it said so itself (Keep-Alive: timeout=)
        uint32_t[3] closed_after    # the last times that it closed one, milliseconds unused
        uint32_t closes
        uint64_t closed_ms          # the last of them
        uint32_t kept               # idle connections since it is known

# A connection to a server that can be idle.
cdef class ServerConnection(Stream):
    cdef:
        Server server
        PyObject* idle_next
        PyObject* idle_prev
        uint64_t born_ms
        uint64_t idle_ms            # last put aside
        uint32_t uses
        uint64_t announced          # hash of the PROXY header it began with; 0 = of none
        bint idle
        bint exploring              # stays idle for longer than the server is thought to keep it

# Opens connections to servers: one kind a protocol spoken to them.
cdef class Connector:
    # Starts connecting, for `client`. None when that failed at once: `failure` then says whose fault it was.
    cdef ServerConnection open(self, Core core, Server server, Stream client, uint32_t connect_ms)
    cdef int failure            # errno

# Puts a connection aside, closing the oldest one when the pool is full. The caller has set its deadline.
cdef void pool_put(Server s, ServerConnection c) noexcept
# The connection used last, or NULL; one that began with the PROXY header of this hash, where there is one. O(1), with a
# header among the latest 128.
cdef PyObject* pool_take(Server s, uint64_t announced) noexcept
# Takes one out wherever it stands (it was closed by the server, or is too old).
cdef void pool_remove(Server s, ServerConnection c) noexcept
# The server closed a connection that had been unused for so long.
cdef void learn_close(Server s, uint64_t unused_ms, uint64_t now_ms) noexcept
# It says how long it keeps them: the value of its Keep-Alive field.
cdef void learn_told(Server s, const char* value, size_t n) noexcept
# When a connection that is put aside now is to be closed. Sets `exploring`.
cdef uint64_t idle_until(Server s, ServerConnection c, uint64_t now_ms) noexcept
# Whether the server may be closing it at this moment: not for what cannot be sent twice.
cdef inline bint overdue(Server s, ServerConnection c, uint64_t now_ms) noexcept:
    return s.guard_ms != 0 and now_ms - c.idle_ms >= s.guard_ms
# Closes all.
cdef void pool_clear(Server s) noexcept
# Closes one idle connection of the server that has had some for longest: descriptors are promised for so many clients
# and a server connection each, and those in pools give way to those asked for. O(1).
cdef void pools_give_way(Core core) noexcept
# A connection is closed.
cdef inline void connection_over(Server s, Core core) noexcept:
    s.open_count -= 1
    core.server_connections -= 1
