"""One member of a backend as a worker sees it, and its idle connections.

The pool is a stack: the connection used last is used next, so that connections beyond the need grow old and are
closed, and the ones in use stay warm (HAProxy and nginx do the same).

A request sent at the moment at which the server closes the connection is lost, which for one that may not be sent twice
means an error to the client: the most common 502 there is. So each server's time is learned, and its connections are
closed shortly before. It is known when the server names it (Keep-Alive: timeout=), or when it closed three connections,
not all at one moment, after nearly the same time unused. One in 64 then stays for the whole of `pool.idle`: if that one
is not closed by the server, what was learned is forgotten.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset, strcpy
from fastlb._core.net cimport (
    AF_INET, AF_INET6, AF_UNIX, sockaddr_in, sockaddr_in6, sockaddr_un)
from fastlb.engine.stats cimport COUNT_IDLE, private_counters

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* out)
    unsigned short htons(unsigned short)

cdef enum:
    SEARCHED = 128      # idle connections, for one that speaks for the client


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

    def __dealloc__(self):
        free(self.options)

    def set_options(self, list numbers not None, str interface="", str source=""):
        """Options of the sockets of its connections, (level, name, value); `source`: a literal address, or 'client'."""
        cdef Server other
        if len(numbers) > MAX_OPTIONS or len(interface.encode()) >= sizeof(self.options.interface):
            raise ValueError("too many or too long")
        if self.options == NULL:
            self.options = <SocketOptions*>calloc(1, sizeof(SocketOptions))
            if self.options == NULL:
                raise MemoryError
        self.options.count = 0
        for level, name, value in numbers:
            self.options.level[self.options.count] = level
            self.options.name[self.options.count] = name
            self.options.value[self.options.count] = value
            self.options.count += 1
        strcpy(self.options.interface, interface.encode())
        self.options.from_client = source == "client"
        if source and source != "client":
            other = Server("", "", AF_INET6 if ":" in source else AF_INET, (source, 0))
            self.options.source = other.address
            self.options.source_len = other.address_len

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

    cdef ServerConnection open(self, Core core, Server server, Stream client, uint32_t connect_ms):
        return None


cdef void pool_put(Server s, ServerConnection c) noexcept:
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
    if s.idle_count == 1:
        pools_link(s, c.core)
    elif s.idle_count > s.pool_size:
        pool_drop_oldest(s)


cdef inline void pools_link(Server s, Core core) noexcept:
    s.pools_next = NULL
    s.pools_prev = core.pools_last
    if core.pools_last != NULL:
        (<Server>core.pools_last).pools_next = <PyObject*>s
    else:
        core.pools_first = <PyObject*>s
    core.pools_last = <PyObject*>s


cdef inline void pools_unlink(Server s, Core core) noexcept:
    if s.pools_prev != NULL:
        (<Server>s.pools_prev).pools_next = s.pools_next
    else:
        core.pools_first = s.pools_next
    if s.pools_next != NULL:
        (<Server>s.pools_next).pools_prev = s.pools_prev
    else:
        core.pools_last = s.pools_prev


cdef void pools_give_way(Core core) noexcept:
    # Its idle connections hold it.
    if core.pools_first != NULL:
        pool_drop_oldest(<Server>core.pools_first)


cdef void pool_drop_oldest(Server s) noexcept:
    cdef ServerConnection oldest = <ServerConnection>s.idle_last
    pool_remove(s, oldest)
    connection_over(s, oldest.core)
    oldest.close_fd(False)


cdef PyObject* pool_take(Server s, uint64_t announced) noexcept:
    cdef PyObject* p = s.idle_first
    cdef int seen = 0
    if announced:
        # It speaks for one client alone.
        while p != NULL and (<ServerConnection>p).announced != announced:
            seen += 1
            p = (<ServerConnection>p).idle_next if seen < SEARCHED else NULL
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
    if s.idle_count == 0:
        pools_unlink(s, c.core)


cdef void pool_clear(Server s) noexcept:
    cdef ServerConnection c
    while s.idle_first != NULL:
        c = <ServerConnection>s.idle_first
        pool_remove(s, c)
        connection_over(s, c.core)
        c.close_fd(False)


cdef enum:
    EXPLORE = 64
    ONE_MOMENT_MS = 500         # closed together: a restart, and one observation


cdef inline uint32_t shortly_before(uint64_t ms) noexcept:
    cdef uint64_t margin = max(ms >> 4, <uint64_t>64)      # two ticks of the timer wheel at least
    return <uint32_t>(ms - margin if ms > 2 * margin else max(ms >> 1, <uint64_t>1))


cdef void learn_close(Server s, uint64_t unused_ms, uint64_t now_ms) noexcept:
    cdef uint64_t least, most
    cdef int i
    if s.told or unused_ms > 0x7fffffff or (s.closes and now_ms - s.closed_ms < ONE_MOMENT_MS):
        return
    s.closed_ms = now_ms
    s.closed_after[s.closes % 3] = <uint32_t>unused_ms
    s.closes += 1
    if s.closes < 3:
        return
    least = most = s.closed_after[0]
    for i in range(1, 3):
        least = min(least, <uint64_t>s.closed_after[i])
        most = max(most, <uint64_t>s.closed_after[i])
    if most - least <= max(least >> 3, <uint64_t>100):
        s.guard_ms = shortly_before(least)
        s.kept = 0


cdef void learn_told(Server s, const char* value, size_t n) noexcept:
    cdef uint64_t seconds = 0
    cdef size_t i = 0
    while i + 8 < n and memcmp(value + i, b"timeout=", 8) != 0:
        i += 1
    i += 8
    if i >= n or not c'0' <= value[i] <= c'9':
        return
    while i < n and c'0' <= value[i] <= c'9' and seconds < 100000:
        seconds = seconds * 10 + <uint64_t>(value[i] - c'0')
        i += 1
    s.told = True
    s.guard_ms = shortly_before(seconds * 1000) if seconds else 1


cdef uint64_t idle_until(Server s, ServerConnection c, uint64_t now_ms) noexcept:
    c.idle_ms = now_ms
    c.exploring = False
    if s.guard_ms == 0 or s.guard_ms >= s.pool_idle_ms:
        return now_ms + s.pool_idle_ms
    s.kept += 1
    if not s.told and s.kept % EXPLORE == 0:
        c.exploring = True
        return now_ms + s.pool_idle_ms
    return now_ms + s.guard_ms


def learned(steps):
    """What is known after each of `steps`, (now_ms, unused_ms) or the text of a Keep-Alive field; for tests."""
    cdef Server s = Server("s", "", 0, None)
    cdef bytes text
    found = []
    for step in steps:
        if isinstance(step, bytes):
            text = step
            learn_told(s, text, len(text))
        else:
            learn_close(s, step[1], step[0])
        found.append(s.guard_ms)
    return found
