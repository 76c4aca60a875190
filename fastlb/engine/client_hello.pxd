# The ClientHello that a TLS connection begins with: which server name and protocols the client asks for.
from libc.stdint cimport uint32_t

cdef enum:
    HELLO_MORE = 0
    HELLO_NONE = -1             # no ClientHello, or a broken one: nothing is known
    HELLO_BYTES = 16384         # longest message that is read
    HELLO_INPUT = 20480         # bytes looked at: the message in its records

cdef struct Hello:
    # within the message; 0 = absent
    uint32_t name, name_len     # SNI
    uint32_t alpn, alpn_len     # protocols, each behind a byte that holds its length

# Reads p[0:n], the first bytes of a connection, puts the message together in `message` (HELLO_BYTES). Its length when
# it is complete, or HELLO_*. The verdict does not depend on how the bytes are cut. O(n), anew at each call.
cdef int hello_parse(const char* p, size_t n, char* message, Hello* h) noexcept nogil
