# Answers that a route gives by itself, without a server: redirects and fixed responses.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from fastlb.engine.networks cimport ADDRESS_TEXT, Networks, format_address
from fastlb.http.identity cimport ForwardInfo
from fastlb.http.request_head cimport RequestHead

# One piece of a location: bytes of the template, or a part of the request.
ctypedef struct Piece:
    uint8_t kind
    uint32_t off                # into the template's text
    uint32_t len

cdef class Answer:
    cdef:
        readonly int status
        # Hot parts of the response, in bytes kept by _keep
        const char* start       # status line
        uint32_t start_len
        const char* fields      # constant lines, Content-Length included
        uint32_t fields_len
        bint dated              # the lines bring their own Date
        tuple _keep

    cdef int _prepare(self, int status, object chain, bytes length) except -1
    # Hot. Bytes of `out` that are certainly enough for write().
    cdef size_t bound(self, const RequestHead* h) noexcept
    # Hot. Writes a complete HTTP/1.1 response to out[0:cap] and returns its length, or -1 when cap is below the bound.
    # `close` announces the end of the connection; `head_only` is for HEAD. No allocation.
    cdef ssize_t write(self, char* out, size_t cap, const char* buf, const RequestHead* h, const ForwardInfo* info,
                       bint close, bint head_only) noexcept

cdef class Redirect(Answer):
    cdef:
        const Piece* pieces
        const char* text
        uint32_t count
        bint needs_host
        bint network_path       # the template itself begins with '//'

cdef class Respond(Answer):
    cdef:
        const char* body
        uint32_t body_len

# Hot. The answer of `redirect_https`: https://{host}{uri}, with the status below. As Answer.write otherwise.
cdef ssize_t write_https_redirect(char* out, size_t cap, const char* buf, const RequestHead* h,
                                  const ForwardInfo* info, bint close) noexcept
# 301 for GET and HEAD; 308 for the others, whose method must not become GET on the way (RFC 9110 section 15.4.9).
cdef int https_redirect_status(int method) noexcept nogil
