# TLS between a stream and the kernel.
from libc.stdint cimport uint8_t
from fastlb.engine.core cimport Core
from fastlb.engine.stream cimport Layer, Stream

cdef enum TlsState:
    TLS_HANDSHAKE = 0
    TLS_ESTABLISHED
    TLS_BROKEN

cdef class Tls(Layer):
    cdef:
        object session          # the interpreter's C-level TLS object over the two memory buffers
        object incoming         # ciphertext from the peer
        object outgoing         # ciphertext for the peer
        bytearray early         # plaintext that was to be sent before the handshake ended; None = nothing
        uint8_t state           # TlsState
        bint ended              # the peer's close_notify has come
    cdef int _handshake(self, Stream s) noexcept
    cdef int _send_out(self, Stream s) noexcept
    cdef int _encrypt(self, Stream s, const char* p, size_t n) except? -1
    cdef ssize_t _decrypt(self, Core core, char* buf, size_t n) except -2
    cdef object version(self)

# The layer of an accepted connection; None when there is no memory for it.
cdef Tls tls_accept(Core core, object context)
# Scratch memory that TLS needs; False when there is none.
cdef bint tls_prepare(Core core) noexcept
