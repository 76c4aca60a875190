# Text of the log lines: plain C over structs, no Python objects, never more bytes than the bound says.
from libc.stdint cimport uint32_t

from fastlb.engine.log_record cimport LogRecord
from fastlb.engine.log_text cimport DateCache

cdef enum:
    HEADER_TEXT = 320
    LINE_FIXED = 1700           # keys, numbers, dates and header of the longest format
    SHORT_FIELDS = 160          # method and protocol, cut by themselves

# Longest escaped text of each field. What is longer is cut (never inside an escape), so that a line fits its target.
ctypedef struct Caps:
    uint32_t line
    uint32_t bare               # the request line in httplog, which has few other texts
    uint32_t host
    uint32_t agent
    uint32_t referer
    uint32_t request_id
    uint32_t reason
    uint32_t name               # of frontend, backend, server
    uint32_t client

# State of one log's formatting; owned by the thread that writes lines.
ctypedef struct FormatState:
    const Caps* caps            # swapped as a whole when the target changes its kind
    DateCache dates
    bint header                 # lines begin with a syslog header
    char before[8]              # of the header: "<134>" towards syslog, else nothing
    uint32_t before_len
    char after[HEADER_TEXT]     # of the header: " host fastlb[12]: "
    uint32_t after_len

ctypedef char* (*format_fn)(char* p, const LogRecord* r, FormatState* st) noexcept nogil

cdef const Caps* caps_for(uint32_t limit) noexcept nogil
cdef void format_init(FormatState* st) noexcept nogil
cdef char* put_header(char* p, const LogRecord* r, FormatState* st) noexcept nogil
cdef char* format_httplog(char* p, const LogRecord* r, FormatState* st) noexcept nogil
cdef char* format_httpslog(char* p, const LogRecord* r, FormatState* st) noexcept nogil
cdef char* format_json(char* p, const LogRecord* r, FormatState* st) noexcept nogil
cdef char* format_combined(char* p, const LogRecord* r, FormatState* st) noexcept nogil
cdef char* format_failure(char* p, const LogRecord* r, FormatState* st) noexcept nogil


cdef inline uint32_t _room(uint32_t n, uint32_t cap) noexcept nogil:
    return n * 6 if n < cap // 6 else cap

# Bytes that no spelling of the record exceeds (an escape is at most six times as long as its byte).
cdef inline uint32_t line_bound(const LogRecord* r, const Caps* c) noexcept nogil:
    return (
        LINE_FIXED + SHORT_FIELDS + _room(r.client_len, c.client) + _room(r.frontend_len, c.name)
        + _room(r.backend_len, c.name) + _room(r.server_len, c.name) + _room(r.line_len, c.bare)
        + _room(r.host_len, c.host) + _room(r.user_agent_len, c.agent) + _room(r.referer_len, c.referer)
        + _room(r.request_id_len, c.request_id) + _room(r.reason_len, c.reason)
        + _room(r.user_len, c.name) + _room(r.tls_sni_len, c.host) + _room(r.tls_client_len, c.reason)
        + _room(r.tls_version_len, 16) + _room(r.tls_cipher_len, 64)
    )
