# TLS between a stream and the kernel where libssl cannot be called directly.
from fastlb.engine.core cimport Core
from fastlb.engine.stream cimport Stream
from fastlb.engine.tls_context cimport TlsClient, TlsLayer, TlsServer

cdef class PortableTls(TlsLayer):
    cdef:
        object session          # the interpreter's C-level TLS object over the two memory buffers
        object incoming         # ciphertext from the peer
        object outgoing         # ciphertext for the peer
        bint said               # our close_notify has gone out
        bytes told_version      # for the log
        bytes told_cipher
        bytearray early         # plaintext that was to be sent before the handshake ended; None = nothing
        bytes aside             # plaintext that was read before its time; None = nothing
    cdef int _handshake(self, Stream s) noexcept
    cdef int _send_out(self, Stream s) noexcept
    cdef int _encrypt(self, Stream s, const char* p, size_t n) except? -1
    cdef int _set_aside(self, Stream s) except -1
    cdef ssize_t _decrypt(self, Core core, char* buf, size_t n) except -2

# The layer of an accepted connection, or of one to a server; None when there is no memory for it.
cdef PortableTls portable_accept(TlsServer server)
cdef PortableTls portable_connect(TlsClient client)
