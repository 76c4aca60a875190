"""Which backend gets a session: the first route all of whose conditions hold."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memset
from fastlb._core.net cimport sockaddr, sockaddr_storage
from fastlb.engine.client_hello cimport Hello
from fastlb.engine.networks cimport Networks, fill_address


cdef class TcpRoute:
    """Conditions of one route; an empty one always holds."""

    cdef:
        list names              # lower case; '.example.com' = any name below
        list protocols
        Networks source         # None = from anywhere

    def __init__(self, route):
        self.names = [name[1:].encode() if name.startswith("*.") else name.encode() for name in route.sni]
        self.protocols = [name.encode() for name in route.alpn]
        if route.source:
            self.source = Networks(route.source)


cdef inline char lower(char c) noexcept nogil:
    return c | 0x20 if c'A' <= c <= c'Z' else c


cdef bint same(const char* a, const char* text, size_t n) noexcept nogil:
    """`a` is in lower case."""
    cdef size_t i
    for i in range(n):
        if a[i] != lower(text[i]):
            return False
    return True


cdef bint match_name(list names, const char* text, uint32_t n) noexcept:
    cdef bytes name
    cdef size_t m
    if n and text[n - 1] == c'.':
        n -= 1                  # the root, which some clients write
    for name in names:
        m = <size_t>len(name)
        if (<const char*>name)[0] == c'.':
            if n > m and same(name, text + n - m, m):
                return True
        elif n == m and same(name, text, m):
            return True
    return False


cdef bint match_protocol(list protocols, const char* list_, uint32_t n) noexcept:
    cdef bytes name
    cdef uint32_t at
    cdef uint32_t size
    for name in protocols:
        at = 0
        while at < n:
            size = <uint8_t>list_[at]
            if size == <uint32_t>len(name) and memcmp(list_ + at + 1, <const char*>name, size) == 0:
                return True
            at += 1 + size
    return False


@cython.final
cdef class TcpRouter:
    """The routes of one frontend of mode tcp."""

    def __init__(self, routes):
        self.routes = [TcpRoute(route) for route in routes]
        self.reads = any(route.sni or route.alpn for route in routes)

    cdef int match(self, const char* message, const Hello* h, const sockaddr* client) noexcept:
        cdef TcpRoute route
        cdef int i = 0
        for route in self.routes:
            if (
                (not route.names or h != NULL and match_name(route.names, message + h.name, h.name_len))
                and (not route.protocols or h != NULL and match_protocol(route.protocols, message + h.alpn, h.alpn_len))
                and (route.source is None or route.source.contains(client))
            ):
                return i
            i += 1
        return -1

    def find(self, str name, protocols=(), str client="unix"):
        """The index of the route that matches, or None. For tests and tools; `name` '' = none was sent."""
        cdef Hello h
        cdef sockaddr_storage storage
        cdef bytes message = name.encode() + b"".join(bytes([len(p)]) + p for p in protocols)
        cdef int found
        memset(&h, 0, sizeof(h))
        h.name_len = <uint32_t>len(name.encode())
        h.alpn = h.name_len
        h.alpn_len = <uint32_t>len(message) - h.name_len
        fill_address(&storage, client)
        found = self.match(message, &h, <const sockaddr*>&storage)
        return None if found < 0 else found
