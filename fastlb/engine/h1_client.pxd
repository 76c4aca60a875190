# A client connection that speaks HTTP/1.x.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastlb._core.net cimport sockaddr
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.h1_input cimport H1Input
from fastlb.engine.listener_base cimport ListenerBase
from fastlb.http.chunked cimport Chunked

cdef class H1Client(H1Input):
    cdef:
        uint64_t start_us       # first byte of the head being read; 0 = none yet
        uint64_t body_left
        uint64_t body_total
        Chunked chunked
        bint half_closed        # the client had ended its side when its request was read
        bint fresh              # accepted, and no event of it handled yet

    cdef void read_more(self) noexcept
    cdef void begin_exchange(self, const char* p, uint32_t head_len, size_t n) noexcept
    cdef void refuse(self, const char* p, size_t n, int status, const char* term, const char* reason) noexcept
    cdef void body_bytes(self, const char* p, size_t n) noexcept
    cdef int take_body(self, const char* p, size_t n, size_t* used) noexcept
    cdef ssize_t receive_body(self) noexcept
    cdef void _writable(self) noexcept
    cdef void _ended(self, bint orderly) noexcept
    cdef int _sent(self, int sent) noexcept

# Takes over an accepted descriptor; False when it could not be registered (the descriptor is closed then).
cdef bint client_accept(Core core, ListenerBase listener, int fd, const sockaddr* peer) noexcept
