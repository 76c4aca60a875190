from fastlb._core.net cimport sockaddr
from fastlb.http.request_head cimport RequestHead
cdef class Router:
    cdef int match(self, const RequestHead* h, const char* buf, const sockaddr* client) noexcept
