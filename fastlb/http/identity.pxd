# Who the client is, told to the server: X-Forwarded-*, Forwarded (RFC 7239), X-Request-ID; and which trace the request
# belongs to: traceparent (W3C Trace Context).
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
    const char* client_cert     # element of X-Forwarded-Client-Cert for the client's certificate
    uint32_t client_cert_len    # 0: it showed none
    const char* request_id
    uint32_t request_id_len     # 0: one is made where the plan wants it
    # Of the traceparent to write where the plan wants one; NULL: the client's stays as it came, if it sent one.
    const char* trace_id        # 32 hex digits
    const char* span_id         # 16 hex digits
    bint trace_sampled
    bint trace_begun            # the trace begins here: a tracestate that came is of another, or of none

# Hot. Writes the fields of `want` (bits by FieldId); a trusted client's lists are continued. Needs the head's own
# length and three times the authority besides 400 bytes.
cdef char* put_identity(char* o, const char* buf, const RequestHead* h, uint32_t want,
                        const ForwardInfo* info) noexcept nogil

# The trace of one request: https://www.w3.org/TR/trace-context/
ctypedef struct Trace:
    uint32_t at                 # of the client's traceparent, in the head
    uint32_t length             # 0: it sent none, or more than one, or none that is valid: the trace begins here
    bint sampled                # somebody records it

# Hot. Reads the client's traceparent: version 00 exactly as it is defined, higher ones as far as they are (section
# 3.2.4). A trace that begins here is sampled when the second half of `request_id`, which is random, is below
# `share` (16 hex digits; NULL = always).
cdef void find_trace(Trace* trace, const RequestHead* h, const char* buf, const char* request_id,
                     const char* share) noexcept nogil
# Hot. What the server is told of it. A trace that begins here has the request's identifier; `spans` when this proxy
# records spans of its own, so that the server's are children of ours. `request_id` has 32 hex digits.
cdef void tell_trace(ForwardInfo* info, const Trace* trace, const char* buf, const char* request_id,
                     bint spans) noexcept nogil

# Hot. 32 hex digits of a 128-bit number that no other process gives out; unique, not secret. No terminating NUL.
cdef void make_request_id(char* out32) noexcept nogil
