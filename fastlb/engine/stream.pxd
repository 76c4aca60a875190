# A byte stream over a descriptor: receive, transmit with a pending tail, half-close. What has a peer derives from it.
from libc.stdint cimport uint16_t, uint32_t
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.core cimport Core
from fastlb.engine.reactor cimport EventHandler

cdef enum Io:
    IO_EOF = 0
    IO_AGAIN = -1
    IO_ERROR = -2

cdef enum Sent:
    SENT_ALL = 0                # the kernel has it
    SENT_PENDING = 1            # kept; stop reading from the source until drained
    SENT_ERROR = -1             # the peer is gone

cdef enum:
    STREAM_READABLE = 1         # the kernel may hold bytes that were not read yet
    STREAM_EOF = 2              # the peer has closed its sending side
    STREAM_PAUSED = 4           # not reading: the other side is behind
    STREAM_WR_SHUT = 8          # our sending side is closed
    STREAM_SHUT_AFTER = 16      # close our sending side when the pending tail is out
    STREAM_CLOSED = 32
    STREAM_DONE = 64            # its end has been passed on to the other side of the tunnel
    STREAM_LAST = 128           # our end follows what is sent next, in the same segment: shut_write() pushes both out
    STREAM_FINAL = 256          # the kernel holds all there will ever be: a read that is short has the last of it

# What stands between a stream and the kernel: TLS. A plain stream has none.
cdef class Layer:
    # Plaintext, as Stream.receive.
    cdef ssize_t receive(self, Stream s, char* buf, size_t n) noexcept
    # Plaintext to be sent, as Stream.transmit.
    cdef int transmit(self, Stream s, const char* a, size_t an, const char* b, size_t bn) noexcept
    # Goes on with the handshake of a connection to a server: 1 = done, 0 = more is needed, -1 = it failed.
    cdef int establish(self, Stream s) noexcept
    # The deadline of the connection has passed before it was ready.
    cdef void expired(self) noexcept
    # Says goodbye to the peer, as far as that goes without waiting.
    cdef void end(self, Stream s) noexcept
    # Bytes of the application can pass: what the layer itself needs first (a handshake) is done.
    cdef bint ready(self) noexcept

cdef class Stream(EventHandler):
    cdef:
        Core core
        Layer layer             # None = plain
        Chunk* out              # bytes the kernel has not taken yet, oldest first
        Chunk* out_last
        uint32_t out_bytes
        uint16_t stream_flags
    # > 0 bytes, or an Io. Clears STREAM_READABLE when the kernel has no more for now.
    cdef ssize_t receive(self, char* buf, size_t n) noexcept
    # Sends a, then b; what the kernel does not take is copied and kept.
    cdef int transmit(self, const char* a, size_t an, const char* b, size_t bn) noexcept
    # The same past the layer: bytes as they are on the wire.
    cdef ssize_t receive_raw(self, char* buf, size_t n) noexcept
    cdef int transmit_raw(self, const char* a, size_t an, const char* b, size_t bn) noexcept
    # Tries the pending tail again.
    cdef int flush(self) noexcept
    # Closes our sending side, after the tail.
    cdef void shut_write(self) noexcept
    # Drops the pending tail: nobody will take it.
    cdef void forget_out(self) noexcept
    # Leaves the reactor and closes the descriptor; reset = RST instead of FIN. Idempotent.
    cdef void close_fd(self, bint reset) noexcept
    cdef int _keep(self, const char* p, size_t n) noexcept
