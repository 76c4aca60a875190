# Rewrites message heads on their way through: what came in, minus what must not pass, plus what is ours.
# Everything of a rule that can be decided before a request comes is decided in the plans' constructors.
from libc.stdint cimport uint8_t, uint32_t
from fastlb._core.span cimport Span
from fastlb.http.field_match cimport NameList
from fastlb.http.identity cimport ForwardInfo, make_request_id
from fastlb.http.path_rewrite cimport PathRewriter
from fastlb.http.request_head cimport RequestHead
from fastlb.http.response_head cimport ResponseHead

# What the head towards the client needs to know.
ctypedef struct ResponseInfo:
    uint8_t client_minor        # HTTP/1.minor of the request; 0: no Transfer-Encoding and no interim response may pass
    bint close                  # add Connection: close
    bint keep_alive_10          # add Connection: keep-alive, the answer to an HTTP/1.0 client that asked for it
    bint dechunk                # the engine removes the chunked coding: drop Transfer-Encoding
    bint upgrade                # 101: pass Upgrade on

cdef class RequestPlan:
    cdef:
        # compiled, read-only after __cinit__
        uint32_t drop[2]        # by `trusted`: bit FieldId set = the line is not copied
        uint32_t want           # bit FieldId set = this identity field is written
        NameList names          # further names that rules drop
        NameList names_begun    # the same where a trace begins
        const char* block       # lines that rules append
        uint32_t block_len
        const char* host        # value that replaces Host; host_len 0 = the client's
        uint32_t host_len
        const char* default_host        # for an HTTP/1.0 client that named none
        uint32_t default_host_len
        PathRewriter rewriter   # None: the path goes as it came
        # keeps the bytes alive that the pointers above point into
        tuple _keep

cdef class ResponsePlan:
    cdef:
        uint32_t drop           # as above
        NameList names
        const char* block
        uint32_t block_len
        bint dated              # rules took Date over: none is added
        tuple _keep

# Bytes of `out` that are certainly enough. The writers check against this and not at every byte: give them this much.
cdef size_t request_head_bound(const RequestHead* h, RequestPlan plan, const ForwardInfo* info) noexcept
cdef size_t response_head_bound(const ResponseHead* h, ResponsePlan plan) noexcept

cdef enum:
    HEAD_NO_ROOM = -1           # cap is below the bound
    HEAD_REFUSED = -2           # answer 400: CONNECT, or a path to be rewritten that servers read differently

# Hot. Writes the head for the server to out[0:cap]; `h` is complete and describes `buf`. Returns the bytes written or
# one of the above. O(head), no allocation.
cdef ssize_t write_request_head(char* out, size_t cap, const char* buf, const RequestHead* h, RequestPlan plan,
                                const ForwardInfo* info) noexcept
# Hot. The same for the client, interim (1xx) heads included. HEAD_NO_ROOM when cap is below the bound.
cdef ssize_t write_response_head(char* out, size_t cap, const char* buf, const ResponseHead* h, ResponsePlan plan,
                                 const ResponseInfo* info) noexcept

# Hot. True when write_request_head passes an Upgrade on: h.upgrade, HTTP/1.1, and a protocol other than h2c is offered.
# A 101 to a request for which this is false is a protocol error of the server.
cdef bint upgrade_forwarded(const char* buf, const RequestHead* h) noexcept nogil
# Hot. The request's own identifier where it is believed (trusted client, plan wants one), else len 0: use a made one.
cdef Span incoming_request_id(const RequestHead* h, RequestPlan plan, bint trusted) noexcept
