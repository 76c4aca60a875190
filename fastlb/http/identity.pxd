# Who the client is, told to the server: X-Forwarded-*, Forwarded (RFC 7239), X-Request-ID.
from libc.stdint cimport uint16_t, uint32_t
from fastlb.http.request_head cimport RequestHead

# What the head towards the server needs to know of the client's connection. Texts are the caller's and must live
# through the call; they must hold no control bytes (format_address and make_request_id make such).
ctypedef struct ForwardInfo:
    const char* client          # address without port, IPv6 without brackets
    uint32_t client_len         # 0: no address (Unix socket): nothing is appended to X-Forwarded-For
    uint16_t client_port
    bint trusted                # the client's address is in a network of Forwarded.trust
    bint https
    uint16_t port               # the listener's
    const char* request_id
    uint32_t request_id_len     # 0: one is made where the plan wants it

# Hot. Writes the fields of `want` (bits by FieldId); a trusted client's lists are continued. Needs the head's own
# length and three times the authority besides 400 bytes.
cdef char* put_identity(char* o, const char* buf, const RequestHead* h, uint32_t want,
                        const ForwardInfo* info) noexcept nogil

# Hot. 32 hex digits of a 128-bit number that no other process gives out; unique, not secret. No terminating NUL.
cdef void make_request_id(char* out32) noexcept nogil
