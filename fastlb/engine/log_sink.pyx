"""Log targets: how lines reach a file, a pipe or a syslog daemon whole, and what happens when they cannot.

Several workers append to one target. A regular file opened with O_APPEND takes each write() as a whole (the
kernel holds the inode's lock), so a chunk of lines is one write. A pipe promises that only up to PIPE_BUF bytes
(4096, POSIX write()), so pipes and other streams get pieces cut at line ends and no longer than that; the
formatter keeps each line below it. A datagram is whole or lost.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memchr, memset

from fastlb._core.net cimport (
    CLOCK_MONOTONIC,
    EAGAIN,
    ECONNREFUSED,
    EINTR,
    MSG_NOSIGNAL,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    clock_gettime,
    close,
    connect,
    iovec,
    msghdr,
    read,
    sockaddr,
    socket,
    timespec,
    write,
)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long n, int timeout)
    enum:
        POLLIN
        POLLOUT

cdef extern from "<sys/stat.h>" nogil:
    struct stat_t "stat":
        unsigned int st_mode
    int fstat(int fd, stat_t* st)
    bint S_ISREG(unsigned int mode)
    bint S_ISDIR(unsigned int mode)

cdef extern from "<fcntl.h>" nogil:
    int open(const char* path, int flags, int mode)
    enum:
        O_WRONLY
        O_APPEND
        O_CREAT
        O_CLOEXEC
        O_NONBLOCK
        O_NOCTTY

cdef extern from "<sys/socket.h>" nogil:
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int sendmmsg(int fd, mmsghdr* messages, unsigned int n, int flags)
    enum:
        SOCK_DGRAM

cdef extern from "<errno.h>" nogil:
    enum:
        EISDIR
        EMSGSIZE
        ENOBUFS
        ENOTCONN
        EPERM

cdef extern from "<linux/limits.h>" nogil:
    const uint32_t PIPE_BUF

cdef extern from *:
    """
    #define fl_get(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
    #define fl_put(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
    static inline const char* fl_last_newline(const char* s, size_t n) { return (const char*)memrchr(s, '\\n', n); }
    static inline void fl_set_errno(int e) { errno = e; }
    """
    uint32_t fl_get(uint32_t* p) noexcept nogil
    void fl_put(uint32_t* p, uint32_t v) noexcept nogil
    const char* fl_last_newline(const char* s, size_t n) noexcept nogil
    void fl_set_errno(int e) noexcept nogil

cdef enum:
    BATCH = 64                  # datagrams a sendmmsg()
    RECONNECT_MS = 1000


cdef int64_t _now_ms() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t>t.tv_sec * 1000 + t.tv_nsec // 1000000


cdef void sink_init(Sink* s, int wake_fd) noexcept nogil:
    memset(s, 0, sizeof(Sink))
    s.fd = -1
    s.wake_fd = wake_fd


cdef int sink_adopt(Sink* s, int fd) noexcept nogil:
    """Take over an open descriptor; -1 (errno) leaves both as they were."""
    cdef stat_t st
    if fstat(fd, &st) < 0:
        return -1
    if S_ISDIR(st.st_mode):
        fl_set_errno(EISDIR)
        return -1
    if s.fd >= 0:
        close(s.fd)
    s.fd = fd
    s.kind = SINK_FILE if S_ISREG(st.st_mode) else SINK_STREAM
    s.torn = False
    return 0


cdef int sink_open_file(Sink* s) noexcept nogil:
    """Open `path` for appending, made with mode 0640. A named pipe must have a reader (else ENXIO)."""
    # O_NONBLOCK does nothing to a regular file and keeps a named pipe from stalling the thread inside write()
    cdef int fd = open(s.path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0o640)
    cdef int code
    if fd < 0:
        return -1
    if sink_adopt(s, fd) < 0:
        code = errno
        close(fd)
        fl_set_errno(code)
        return -1
    return 0


cdef int sink_connect(Sink* s) noexcept nogil:
    """A fresh datagram socket connected to `address`, so that errors come back; -1 (errno) when nobody is there."""
    cdef int fd = socket(s.address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    cdef int code
    if fd < 0:
        return -1
    if connect(fd, <sockaddr*>&s.address, s.address_len) < 0:
        code = errno
        close(fd)
        fl_set_errno(code)
        return -1
    if s.fd >= 0:
        close(s.fd)
    s.fd = fd
    s.kind = SINK_DATAGRAM
    return 0


cdef void sink_close(Sink* s) noexcept nogil:
    if s.fd >= 0:
        close(s.fd)
        s.fd = -1


cdef bint _wait_writable(Sink* s) noexcept nogil:
    """Sleep until the target takes more; False when the log gives the target up."""
    cdef pollfd fds[2]
    cdef char scrap[8]
    while not fl_get(&s.abandon):
        fds[0].fd = s.fd
        fds[0].events = POLLOUT
        fds[0].revents = 0
        fds[1].fd = s.wake_fd
        fds[1].events = POLLIN
        fds[1].revents = 0
        if poll(fds, 2, -1) < 0 and errno != EINTR:
            return True
        if fds[0].revents:
            return True
        if fds[1].revents:
            read(s.wake_fd, scrap, 8)
    return False


cdef uint32_t _count(const char* data, const char* stop) noexcept nogil:
    cdef uint32_t n = 0
    cdef const char* at
    while data < stop:
        at = <const char*>memchr(data, c'\n', <size_t>(stop - data))
        if at == NULL:
            break
        n += 1
        data = at + 1
    return n


cdef Delivery _write_stream(Sink* s, const char* data, uint32_t size, uint32_t lines) noexcept nogil:
    cdef Delivery d
    cdef const char* p = data
    cdef const char* stop = data + size
    cdef const char* piece
    cdef const char* cut
    cdef ssize_t n
    d.written = 0
    d.lost = 0
    if s.torn:
        # an earlier line was left unfinished: end it, so that it costs no second one
        if s.kind == SINK_STREAM and not _wait_writable(s):
            d.lost = lines
            return d
        if write(s.fd, b"\n", 1) == 1:
            s.torn = False
    while p < stop:
        piece = stop
        if s.kind == SINK_STREAM:
            if stop - p > <ssize_t>PIPE_BUF:
                cut = fl_last_newline(p, PIPE_BUF)
                piece = cut + 1 if cut != NULL else p + PIPE_BUF
            # Inherited pipes block (the flag would be shared with other processes), so ask first: a pipe that polls
            # writable takes PIPE_BUF bytes.
            if not _wait_writable(s):
                break
        n = write(s.fd, p, <size_t>(piece - p))
        if n > 0:
            p += n
            s.torn = (p - 1)[0] != c'\n'
        elif n < 0 and errno == EINTR:
            continue
        elif n < 0 and errno == EAGAIN:
            if not _wait_writable(s):
                break
        else:
            fl_put(&s.error, <uint32_t>errno)
            break
    d.written = lines if p == stop else _count(data, p)
    d.lost = lines - d.written
    return d


cdef uint32_t _send_batch(Sink* s, mmsghdr* messages, uint32_t n) noexcept nogil:
    """Send n datagrams; how many the kernel took. Waits for a full queue, gives up on a reader that is gone."""
    cdef uint32_t done = 0, taken = 0
    cdef bint refused = False, again = False
    cdef int r
    while done < n:
        r = sendmmsg(s.fd, messages + done, n - done, MSG_NOSIGNAL)
        if r > 0:
            done += <uint32_t>r
            taken += <uint32_t>r
            refused = False
            continue
        if errno == EINTR:
            continue
        if errno == EAGAIN:
            if not _wait_writable(s):
                return taken
            continue
        fl_put(&s.error, <uint32_t>errno)
        if errno == EMSGSIZE or errno == ENOBUFS or errno == EPERM:
            done += 1           # this one only
            continue
        if errno == ECONNREFUSED and s.path == NULL and not refused:
            refused = True         # UDP: the answer to an earlier datagram, this one was not sent yet
            continue
        # a syslog daemon that went away and perhaps came back: one new socket a batch
        if again or sink_connect(s) < 0:
            sink_close(s)
            s.next_connect_ms = _now_ms() + RECONNECT_MS
            return taken
        again = True
    return taken


cdef Delivery _write_datagrams(Sink* s, const char* data, uint32_t size, uint32_t lines) noexcept nogil:
    cdef mmsghdr messages[BATCH]
    cdef iovec parts[BATCH]
    cdef const char* p = data
    cdef const char* stop = data + size
    cdef const char* end
    cdef uint32_t n
    cdef Delivery d
    d.written = 0
    while p < stop:
        if s.fd < 0:
            if _now_ms() < s.next_connect_ms:
                break
            if sink_connect(s) < 0:
                fl_put(&s.error, <uint32_t>errno)
                s.next_connect_ms = _now_ms() + RECONNECT_MS
                break
        n = 0
        while p < stop and n < BATCH:
            end = <const char*>memchr(p, c'\n', <size_t>(stop - p))
            if end == NULL:
                end = stop
            parts[n].iov_base = <void*>p
            parts[n].iov_len = <size_t>(end - p)
            memset(&messages[n], 0, sizeof(mmsghdr))
            messages[n].msg_hdr.msg_iov = &parts[n]
            messages[n].msg_hdr.msg_iovlen = 1
            n += 1
            p = end + 1
        d.written += _send_batch(s, messages, n)
        if fl_get(&s.abandon):
            break
    d.lost = lines - d.written
    return d


cdef uint32_t sink_line_limit(const Sink* s) noexcept nogil:
    # a datagram: what syslog daemons take by default
    if s.kind == SINK_FILE:
        return 0
    return 8192 if s.kind == SINK_DATAGRAM else PIPE_BUF


cdef Delivery sink_write(Sink* s, const char* data, uint32_t size, uint32_t lines) noexcept nogil:
    """Deliver a chunk of whole lines; waits for a target that stalls until it moves or `abandon` is set."""
    if s.kind == SINK_DATAGRAM:
        return _write_datagrams(s, data, size, lines)
    return _write_stream(s, data, size, lines)
