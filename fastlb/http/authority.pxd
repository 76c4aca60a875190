# Host and authority: host [":" port] (RFC 9110 section 4.2, RFC 3986 section 3.2).
from libc.stdint cimport uint32_t

# Checks n bytes as host [":" [port]] and splits them: 1 when valid. `host_len` counts the host, brackets of an IPv6
# address included; port is 0 when absent or empty. No user information, at most 65535, no byte outside reg-name.
# `base`: text or any byte before it from which on everything may be read; 16 bytes before the end make it faster.
cdef bint split_authority(const char* base, const char* text, size_t n, uint32_t* host_len,
                          uint32_t* port) noexcept nogil
# The same host without regard to case (RFC 3986 section 6.2.2.1).
cdef bint host_equal(const char* a, size_t an, const char* b, size_t bn) noexcept nogil
# Writes the host in lower case.
cdef void host_lower(char* out, const char* host, size_t n) noexcept nogil
