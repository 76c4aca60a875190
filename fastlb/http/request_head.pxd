# Request head parser. Resumable at any byte: call again with the same (possibly moved) bytes plus more.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastlb._core.span cimport Span
from fastlb.http.fields cimport Field, HeadLimits, MAX_FIELDS

cdef enum Method:
    METHOD_OTHER = 0
    METHOD_GET
    METHOD_HEAD
    METHOD_POST
    METHOD_PUT
    METHOD_DELETE
    METHOD_OPTIONS
    METHOD_TRACE
    METHOD_CONNECT
    METHOD_PATCH

cdef enum TargetForm:
    TARGET_ORIGIN = 0           # /path?query
    TARGET_ABSOLUTE             # scheme://authority/path?query
    TARGET_ASTERISK             # OPTIONS *
    TARGET_AUTHORITY            # CONNECT host:port

ctypedef struct RequestHead:
    # --- resume state, private to the parser
    uint32_t pos                # where the scan goes on
    uint32_t start              # first byte of the line being read
    uint8_t state
    # --- result
    uint8_t method              # Method
    uint8_t form                # TargetForm
    uint8_t minor               # HTTP/1.minor, 0 or 1
    uint8_t framing             # Framing: NONE, LENGTH or CHUNKED
    uint8_t keep_alive          # the client wants the connection kept (version and Connection considered)
    uint8_t expect_continue
    uint8_t upgrade             # Connection lists upgrade and Upgrade is there
    uint8_t connection_names    # Connection lists other field names: those have FIELD_HOP set
    uint8_t reason              # Reason, when refused
    uint16_t status             # 400 414 431 501 505, when refused
    uint16_t nfields
    uint32_t repeated           # bit FieldId: more than one such field
    uint16_t seen[32]           # by FieldId: 1 + index of the first such field, 0 = absent
    uint64_t content_length
    uint32_t length             # bytes of the whole head with its last CRLF; leading empty lines included
    Span line                   # request line without CRLF, as received (for the log)
    Span verb                   # method token
    Span target                 # as received
    Span path                   # of the target, without query; of OPTIONS * the '*'; empty in absolute form: len 0
    Span query                  # without '?'
    Span host                   # effective host without port, as received: authority of the absolute form, else Host
    Span authority              # effective host with port
    uint32_t port               # of authority, 0 = none
    Field fields[MAX_FIELDS]    # last: a partial copy needs only nfields of them

# New message: forget everything.
cdef void request_head_reset(RequestHead* h) noexcept nogil
# > 0: complete, the head's length; PARSE_MORE; PARSE_ERROR with h.status and h.reason. O(new bytes).
cdef int parse_request_head(RequestHead* h, const char* buf, uint32_t n, const HeadLimits* limits) noexcept nogil
# Bytes of the struct that a copy must take to be able to go on.
cdef size_t request_head_size(const RequestHead* h) noexcept nogil
# Safe and idempotent by RFC 9110 section 9.2.2 (GET HEAD OPTIONS TRACE PUT DELETE).
cdef bint method_idempotent(int method) noexcept nogil
