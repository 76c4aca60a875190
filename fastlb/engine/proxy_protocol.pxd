# The PROXY protocol, versions 1 and 2: bytes in, facts out; no sockets, no clock.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from fastlb._core.net cimport sockaddr, sockaddr_in6

cdef enum:
    PROXY_MORE = 0
    PROXY_BAD = -1
    PROXY_BYTES = 8192          # longest header that is taken
    PROXY_OUT = 1024            # longest header that is made
    PROXY_V1_BYTES = 107        # with CRLF

# What of version 2 is sent beside the addresses.
cdef enum ProxyTlv:
    PROXY_UNIQUE_ID = 1
    PROXY_AUTHORITY = 2
    PROXY_ALPN = 4
    PROXY_SSL = 8
    PROXY_CRC32C = 16

cdef struct ProxyHeader:
    const char* reason          # static: why it is bad
    uint8_t version
    bint known                  # the addresses below hold; else those of the connection do (LOCAL, UNKNOWN, UNSPEC)
    sockaddr_in6 source         # large enough for both families; AF_UNIX without a path
    sockaddr_in6 destination
    # texts of version 2, within the header; 0 = absent
    uint32_t unique_id, unique_id_len
    uint32_t authority, authority_len
    uint32_t alpn, alpn_len

# What a header says beside the addresses; NULL or 0 = nothing to say.
cdef struct ProxyFacts:
    uint32_t wanted             # PROXY_*
    const char* unique_id
    uint32_t unique_id_len
    const char* authority
    uint32_t authority_len
    const char* alpn
    uint32_t alpn_len
    bint ssl                    # the client speaks TLS to us
    const char* ssl_version     # such as TLSv1.3, NULL = not known

# The length of the header that p[0:n] begins with, or PROXY_*. The verdict does not depend on how the bytes are cut:
# what is bad once stays bad with more of it. Strict where the specification leaves a choice. O(n).
cdef int proxy_parse(const char* p, size_t n, ProxyHeader* h) noexcept nogil
# Writes a header to out[0:PROXY_OUT]; returns its length. Peers without an IP address are UNKNOWN or UNSPEC.
cdef size_t proxy_write(char* out, int version, const sockaddr* source, const sockaddr* destination,
                        const ProxyFacts* facts) noexcept nogil
