# TLS between a stream and the kernel.
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.core cimport Core
from libc.stdint cimport uint32_t
from fastlb.engine.libssl cimport SSL
from fastlb.engine.stream cimport Stream
from fastlb.engine.tls_context cimport TlsClient, TlsLayer, TlsServer

cdef class Tls(TlsLayer):
    cdef:
        SSL* ssl
        bint said               # our close_notify has gone out
        bint missing            # the handshake failed for want of a client's certificate
        Chunk* kept             # ciphertext that the caller's buffer had no room for, or whose turn has not come
        bytearray early         # plaintext that was to be sent before the handshake ended; None = nothing
    cdef int _handshake(self, Stream s) noexcept
    cdef ssize_t _decrypt(self, Stream s, char* buf, size_t n) noexcept
    cdef int _encrypt(self, Stream s, const char* p, size_t n) noexcept
    cdef int _send_out(self, Stream s) noexcept
    cdef int _why(self, Stream s) noexcept
    cdef bint _keep(self, Core core) noexcept
    cdef bint _fed(self, Core core) noexcept

# Scratch memory that TLS needs; False when there is none.
cdef bint tls_prepare(Core core) noexcept
# The layer of an accepted connection, or of one to a server; None when there is no memory for it.
cdef TlsLayer tls_accept(Core core, TlsServer server)
cdef TlsLayer tls_connect(Core core, TlsClient client)
# The keys of session tickets, 80 bytes each, the one that new tickets get first.
cdef void tls_tickets(Core core, object keys) noexcept
