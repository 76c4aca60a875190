# Where finished lines go: a file, a pipe, a datagram socket. Used by the writer thread alone, without the GIL.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastlb._core.net cimport sockaddr_storage, socklen_t

cdef enum SinkKind:
    SINK_FILE = 0               # regular: whole chunks
    SINK_STREAM = 1             # pipe, terminal, stream socket: pieces up to PIPE_BUF, so that processes do not mix
    SINK_DATAGRAM = 2           # syslog: a line, a datagram

ctypedef struct Sink:
    int fd
    int wake_fd                 # readable when the log wants something while the target stalls
    SinkKind kind
    bint torn                   # the last thing written was a part of a line
    uint32_t error              # atomic: errno of the last loss, taken by who reports it
    char* path                  # to open again, NULL for an inherited descriptor
    sockaddr_storage address    # of syslog
    socklen_t address_len
    int64_t next_connect_ms     # syslog that is away is tried again from then on
    uint32_t abandon            # atomic: stop waiting for a stalled target

# What became of a chunk.
ctypedef struct Delivery:
    uint32_t written            # lines
    uint32_t lost

cdef void sink_init(Sink* s, int wake_fd) noexcept nogil
# Cold; -1 with errno set on failure, the old target stays.
cdef int sink_open_file(Sink* s) noexcept nogil
cdef int sink_adopt(Sink* s, int fd) noexcept nogil
cdef int sink_connect(Sink* s) noexcept nogil
cdef void sink_close(Sink* s) noexcept nogil
# Bytes of a whole line that the target takes, 0 = any.
cdef uint32_t sink_line_limit(const Sink* s) noexcept nogil
cdef Delivery sink_write(Sink* s, const char* data, uint32_t size, uint32_t lines) noexcept nogil
