"""One member of a backend as a worker sees it, and its idle connections.

The pool is a stack: the connection used last is used next, so that connections beyond the need grow old and are
closed, and the ones in use stay warm (HAProxy and nginx do the same).
"""

from libc.string cimport memcpy, memset
from fastlb._core.net cimport (
    AF_INET, AF_INET6, AF_UNIX, sockaddr_in, sockaddr_in6, sockaddr_un)
from fastlb.engine.stats cimport COUNT_IDLE, private_counters

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* out)
    unsigned short htons(unsigned short)


cdef class Server:
    """Address, counters and idle connections of one server in this worker."""

    def __cinit__(self, str name, str address_text, int family, where):
        """`where` is (host, port) with a literal host, or a path, or None when the name did not resolve."""
        cdef sockaddr_in* v4
        cdef sockaddr_in6* v6
        cdef sockaddr_un* un
        cdef bytes raw
        self.name = name.encode()
        self.address_text = address_text
        self.counters = private_counters()
        memset(&self.address, 0, sizeof(self.address))
        if where is None:
            return
        if family == AF_UNIX:
            un = <sockaddr_un*>&self.address
            un.sun_family = AF_UNIX
            raw = where.encode()
            if len(raw) >= sizeof(un.sun_path):
                raise ValueError(f"socket path too long: {where!r}")
            memcpy(un.sun_path, <const char*>raw, len(raw))
            self.address_len = <socklen_t>(sizeof(sockaddr_un) - sizeof(un.sun_path) + len(raw) + 1)
        elif family == AF_INET:
            v4 = <sockaddr_in*>&self.address
            v4.sin_family = AF_INET
            v4.sin_port = htons(where[1])
            raw = where[0].encode()
            if inet_pton(AF_INET, raw, &v4.sin_addr) != 1:
                raise ValueError(f"not an IPv4 address: {where[0]!r}")
            self.address_len = sizeof(sockaddr_in)
        elif family == AF_INET6:
            v6 = <sockaddr_in6*>&self.address
            v6.sin6_family = AF_INET6
            v6.sin6_port = htons(where[1])
            raw = where[0].encode()
            if inet_pton(AF_INET6, raw, &v6.sin6_addr) != 1:
                raise ValueError(f"not an IPv6 address: {where[0]!r}")
            self.address_len = sizeof(sockaddr_in6)
        else:
            raise ValueError(f"unknown address family {family}")

    @property
    def idle(self):
        """Idle connections of this worker."""
        return self.idle_count

    @property
    def open(self):
        """Open connections of this worker, idle ones included."""
        return self.open_count


cdef class ServerConnection(Stream):
    """A connection to a server that can be idle."""


cdef class Connector:
    """Opens connections to servers."""

    cdef ServerConnection open(self, Core core, Server server, uint32_t connect_ms):
        return None


cdef void pool_put(Server s, ServerConnection c) noexcept:
    cdef ServerConnection oldest
    c.idle = True
    c.idle_prev = NULL
    c.idle_next = s.idle_first
    if s.idle_first != NULL:
        (<ServerConnection>s.idle_first).idle_prev = <PyObject*>c
    else:
        s.idle_last = <PyObject*>c
    s.idle_first = <PyObject*>c
    s.idle_count += 1
    s.counters[COUNT_IDLE] += 1
    if s.idle_count > s.pool_size:
        oldest = <ServerConnection>s.idle_last
        pool_remove(s, oldest)
        s.open_count -= 1
        oldest.close_fd(False)


cdef PyObject* pool_take(Server s, uint64_t announced) noexcept:
    cdef PyObject* p = s.idle_first
    if announced:
        # It speaks for one client alone.
        while p != NULL and (<ServerConnection>p).announced != announced:
            p = (<ServerConnection>p).idle_next
    if p != NULL:
        pool_remove(s, <ServerConnection>p)
    return p


cdef void pool_remove(Server s, ServerConnection c) noexcept:
    if not c.idle:
        return
    c.idle = False
    if c.idle_prev != NULL:
        (<ServerConnection>c.idle_prev).idle_next = c.idle_next
    else:
        s.idle_first = c.idle_next
    if c.idle_next != NULL:
        (<ServerConnection>c.idle_next).idle_prev = c.idle_prev
    else:
        s.idle_last = c.idle_prev
    c.idle_next = NULL
    c.idle_prev = NULL
    s.idle_count -= 1
    s.counters[COUNT_IDLE] -= 1


cdef void pool_clear(Server s) noexcept:
    cdef ServerConnection c
    while s.idle_first != NULL:
        c = <ServerConnection>s.idle_first
        pool_remove(s, c)
        s.open_count -= 1
        c.close_fd(False)
