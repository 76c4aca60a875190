# A client connection that speaks HTTP/1.x.
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastlb._core.net cimport sockaddr, sockaddr_in6
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport ClientSide, Exchange
from fastlb.engine.listener_base cimport ListenerBase
from fastlb.engine.stream cimport Stream
from fastlb.http.chunked cimport Chunked
from fastlb.http.request_head cimport RequestHead

cdef enum ClientState:
    CLIENT_HEAD = 0             # idle, or a head is coming in; no exchange
    CLIENT_BODY                 # the exchange's request body is coming in
    CLIENT_WAIT                 # request received whole; the exchange is under way
    CLIENT_TUNNEL               # bytes both ways
    CLIENT_FLUSH                # last bytes going out, then close
    CLIENT_LINGER               # our side is closed; reading the rest away so that the answer is not lost to a reset
    CLIENT_CLOSED

cdef class H1Client(ClientSide):
    cdef:
        ListenerBase listener
        PyObject* client_next
        PyObject** client_pprev
        Exchange exchange
        Stream tunnel           # the other side of a tunnel
        Chunk* inb              # bytes received and not used yet: a partial head, or pipelined requests
        RequestHead* partial    # parser's memory of a partial head; NULL = at the start of a message
        uint64_t start_us       # first byte of the head being read; 0 = none yet
        uint64_t body_left
        uint64_t body_total
        Chunked chunked
        uint32_t lingered       # bytes read away
        uint8_t state           # ClientState
        bint close_after        # no further request on this connection
        bint working            # inside process(): do not recurse
        bint half_closed        # the client had ended its side when its request was read
        bint unread_body        # the answer came before the end of the request
        sockaddr_in6 address    # of the peer; large enough for both families

    cdef void read_more(self) noexcept
    cdef void process(self, const char* p, size_t n) noexcept
    cdef void begin_exchange(self, const char* p, uint32_t head_len, size_t n) noexcept
    cdef void refuse(self, const char* p, size_t n, int status, const char* term, const char* reason) noexcept
    cdef void body_bytes(self, const char* p, size_t n) noexcept
    cdef int take_body(self, const char* p, size_t n, size_t* used) noexcept
    cdef bint _more_input(self) noexcept
    cdef void process_input(self) noexcept
    cdef void _writable(self) noexcept
    cdef void _ended(self, bint orderly) noexcept
    cdef int _sent(self, int sent) noexcept
    cdef void _relay_tunnel(self) noexcept
    cdef void _touch_tunnel(self, Exchange e) noexcept
    cdef void keep_input(self, const char* p, size_t n) noexcept
    cdef void next_request(self) noexcept
    cdef void leave(self) noexcept
    cdef void start_linger(self) noexcept
    cdef void linger(self) noexcept
    cdef void shut(self, bint reset) noexcept
    cdef void drain_idle(self) noexcept

# The worker is leaving: idle connections close, busy ones after their answer; `now` = all of them at once.
cdef void clients_drain(Core core, bint now) noexcept
# Takes over an accepted descriptor; False when it could not be registered (the descriptor is closed then).
cdef bint client_accept(Core core, ListenerBase listener, int fd, const sockaddr* peer) noexcept
