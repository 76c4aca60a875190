"""Routing table of a frontend. Until it is compiled, no route matches and the frontend's backend serves all."""

cdef class Router:
    def __init__(self, routes):
        pass

    cdef int match(self, const RequestHead* h, const char* buf, const sockaddr* client) noexcept:
        return -1
