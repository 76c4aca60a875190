# A server connection that speaks HTTP/1.1.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.exchange cimport Exchange, ServerSide
from fastlb.engine.server cimport Connector
from fastlb.engine.stream cimport Stream
from fastlb.http.chunked cimport Chunked
from fastlb.http.response_head cimport ResponseHead

cdef enum UpstreamState:
    UP_CONNECTING = 0
    UP_ACTIVE                   # serves an exchange
    UP_IDLE                     # in the server's pool
    UP_TUNNEL
    UP_CLOSED

cdef class H1Upstream(ServerSide):
    cdef:
        Exchange exchange
        Stream tunnel           # the client's side of a tunnel
        Chunk* inb              # a partial response head
        ResponseHead* partial
        const char* head_base   # bytes core.response refers to, inside feed() only
        uint64_t body_left
        uint64_t begun_ms       # the attempt at hand
        Chunked chunked
        uint8_t state           # UpstreamState
        uint8_t framing         # of the response body
        uint8_t interims        # 1xx heads of this exchange
        bint head_done
        bint got_any            # some byte of the answer has come
        bint keep               # the server keeps the connection
        bint dechunk            # the client cannot take chunks
        bint send_failed        # the server takes no more body; its answer may still come

    cdef void read_more(self) noexcept
    cdef void feed(self, const char* p, size_t n) noexcept
    cdef bint take_head(self, const char* p, size_t n, size_t* used) noexcept
    cdef void take_body(self, const char* p, size_t n, bint with_head) noexcept
    cdef void pass_chunks(self, const char* p, size_t n, bint with_head) noexcept
    cdef void decode_chunks(self, const char* p, size_t n, bint with_head) noexcept
    cdef bint pass_on(self, const char* p, size_t n, bint with_head, bint end) noexcept
    cdef void finish(self, bint clean) noexcept
    cdef void ended(self, bint orderly) noexcept
    cdef void drop(self, int failure) noexcept
    # drop(FAIL_MALFORMED), keeping p[0:n], of which p[at] breaks the protocol, for whoever asks (capture.pxd).
    # at = n: the place is looked for, which works for heads.
    cdef void malformed(self, const char* p, size_t n, size_t at, bint body, const char* reason) noexcept
    cdef void handshake(self) noexcept
    cdef void now_connected(self) noexcept
    cdef void shut(self, bint reset) noexcept
    cdef void arm(self) noexcept
    cdef void keep_partial(self, const char* p, size_t n) noexcept

cdef class H1Connector(Connector):
    pass
