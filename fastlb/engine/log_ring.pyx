"""The batching between the request path and a log's target.

The engine formats lines straight into a chunk; a full chunk, or a partial one at flush(), goes to a thread that writes
it with the GIL released. Chunk numbers travel through two rings of atomics (handed over, given back). The thread is
woken by an eventfd, and only when it sleeps. When the target stalls, chunks run out and lines are dropped and counted:
the producer never waits. Memory is touched as it is needed: a target that keeps up uses two or three chunks.
"""

import fcntl
import os
import socket as _socket
import threading
import time

from libc.errno cimport errno
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset, strdup

from fastlb._core.net cimport AF_UNIX, close, read, sockaddr, sockaddr_un, socklen_t, write
from fastlb.engine.log_sink cimport (
    SINK_DATAGRAM,
    Delivery,
    Sink,
    sink_adopt,
    sink_close,
    sink_connect,
    sink_init,
    sink_line_limit,
    sink_open_file,
    sink_write,
)

cdef extern from "<sys/socket.h>" nogil:
    int getpeername(int fd, sockaddr* addr, socklen_t* n)

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* addr, size_t n, int prot, int flags, int fd, long offset)
    int munmap(void* addr, size_t n)
    enum:
        PROT_READ
        PROT_WRITE
        MAP_PRIVATE
        MAP_ANONYMOUS
        MAP_NORESERVE
    void* MAP_FAILED

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initial, int flags)
    enum:
        EFD_CLOEXEC
        EFD_NONBLOCK

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long n, int timeout)
    enum:
        POLLIN

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int sigfillset(sigset_t* s)
    int pthread_sigmask(int how, const sigset_t* new, sigset_t* old)
    enum:
        SIG_SETMASK

cdef extern from *:
    """
    #define fl_get32(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
    #define fl_get64(p) __atomic_load_n(p, __ATOMIC_RELAXED)
    #define fl_set32(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
    #define fl_add64(p, v) __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + (v), __ATOMIC_RELAXED)
    #define fl_bump32(p) __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST)
    #define fl_swap32(p, v) __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
    #define fl_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    """
    uint32_t fl_get32(uint32_t* p) noexcept nogil
    uint64_t fl_get64(uint64_t* p) noexcept nogil
    void fl_set32(uint32_t* p, uint32_t v) noexcept nogil
    void fl_add64(uint64_t* p, uint64_t v) noexcept nogil
    uint32_t fl_bump32(uint32_t* p) noexcept nogil
    uint32_t fl_swap32(uint32_t* p, uint32_t v) noexcept nogil
    void fl_fence() noexcept nogil


# ---- producer ----------------------------------------------------------------------------------------------

cdef void _ring_wake(Ring* g) noexcept nogil:
    """Ring the thread if it sleeps. The fence pairs with the one before its last look at the ring."""
    fl_fence()
    if fl_get32(&g.sleeping) and fl_swap32(&g.sleeping, 0):
        _ring_ring(g)


cdef void _ring_ring(Ring* g) noexcept nogil:
    cdef uint64_t one = 1
    write(g.wake_fd, &one, 8)


cdef void _ring_copy(Ring* g, uint32_t number) noexcept nogil:
    if g.size[number] > g.tap_size - g.tap_used:
        g.tap_lost += g.held[number]
        return
    memcpy(g.tap + g.tap_used, g.memory + <size_t>number * g.chunk, g.size[number])
    g.tap_used += g.size[number]


cdef int ring_watch(Ring* g, uint32_t size) noexcept nogil:
    if g.tap == NULL:
        g.tap = <char*>malloc(size)
        g.tap_size = size
        g.tap_used = 0
        g.tap_lost = 0
    return 0 if g.tap != NULL else -1


cdef void ring_unwatch(Ring* g) noexcept nogil:
    free(g.tap)
    g.tap = NULL


cdef void _ring_hand_over(Ring* g) noexcept nogil:
    cdef uint32_t number = g.current
    g.size[number] = <uint32_t>(g.pos - (g.memory + <size_t>number * g.chunk))
    g.held[number] = g.lines
    g.full[g.tail_full % g.count] = number
    if g.tap != NULL:
        _ring_copy(g, number)
    fl_set32(&g.tail_full, g.tail_full + 1)
    g.pos = NULL
    g.end = NULL
    g.lines = 0
    _ring_wake(g)


cdef char* ring_next(Ring* g, uint32_t need) noexcept nogil:
    cdef uint32_t number
    if g.pos != NULL:
        if need > g.chunk:
            g.refused += 1
            return NULL
        _ring_hand_over(g)
    if g.head_free != fl_get32(&g.tail_spare):
        number = g.spare[g.head_free % g.count]
        g.head_free += 1
    elif g.fresh < g.count:
        number = g.fresh
        g.fresh += 1
    else:
        g.refused += 1
        return NULL
    g.current = number
    g.pos = g.memory + <size_t>number * g.chunk
    g.end = g.pos + g.chunk
    if need > g.chunk:
        g.refused += 1
        return NULL
    return g.pos


cdef bint ring_idle(Ring* g) noexcept nogil:
    """True when everything handed over was delivered (or lost)."""
    return fl_get32(&g.head_full) == g.tail_full


cdef void ring_flush(Ring* g, bint force) noexcept nogil:
    # behind a stalled target small chunks would use up the ring, so the chunk in hand keeps filling
    if g.lines != 0 and (force or ring_idle(g)):
        _ring_hand_over(g)


cdef uint32_t ring_line_limit(Ring* g) noexcept nogil:
    return fl_get32(&g.line_limit)


cdef uint64_t ring_dropped(Ring* g) noexcept nogil:
    return g.refused + fl_get64(&g.lost)


cdef uint64_t ring_written(Ring* g) noexcept nogil:
    return fl_get64(&g.written)


cdef int ring_reopen_error(Ring* g) noexcept nogil:
    return <int>fl_swap32(&g.reopen_failed, 0) if fl_get32(&g.reopen_failed) else 0


cdef int ring_last_error(Ring* g) noexcept nogil:
    return <int>fl_swap32(&g.sink.error, 0)


# ---- consumer ----------------------------------------------------------------------------------------------

cdef void _ring_clear(int fd) noexcept nogil:
    cdef char scrap[8]
    read(fd, scrap, 8)


cdef void _ring_sleep(Ring* g) noexcept nogil:
    cdef pollfd p
    fl_swap32(&g.sleeping, 1)
    fl_fence()
    if fl_get32(&g.tail_full) == g.head_full and not fl_get32(&g.stop) and fl_get32(&g.reopen) == g.reopened:
        p.fd = g.wake_fd
        p.events = POLLIN
        p.revents = 0
        poll(&p, 1, -1)
    fl_set32(&g.sleeping, 0)
    _ring_clear(g.wake_fd)


cdef void _ring_reopen(Ring* g, uint32_t request) noexcept nogil:
    cdef int r = 0
    if g.sink.kind == SINK_DATAGRAM:
        r = sink_connect(&g.sink)
    elif g.sink.path != NULL:
        r = sink_open_file(&g.sink)
    if r < 0:
        fl_set32(&g.reopen_failed, <uint32_t>errno)
    fl_set32(&g.line_limit, sink_line_limit(&g.sink))
    fl_set32(&g.reopened, request)


cdef void _ring_tell(Ring* g) noexcept nogil:
    cdef uint64_t one = 1
    fl_fence()
    if fl_get32(&g.watched):
        write(g.done_fd, &one, 8)


cdef void _ring_deliver(Ring* g) noexcept nogil:
    cdef uint32_t number = g.full[g.head_full % g.count]
    cdef Delivery d = sink_write(&g.sink, g.memory + <size_t>number * g.chunk, g.size[number], g.held[number])
    fl_add64(&g.written, d.written)
    fl_add64(&g.lost, d.lost)
    g.spare[g.tail_spare % g.count] = number
    fl_set32(&g.tail_spare, g.tail_spare + 1)
    fl_set32(&g.head_full, g.head_full + 1)


cdef void _ring_run(Ring* g) noexcept nogil:
    """The thread: deliver chunks in order until told to stop and nothing is left."""
    cdef sigset_t every
    cdef uint32_t request
    sigfillset(&every)
    pthread_sigmask(SIG_SETMASK, &every, NULL)  # signals are the main thread's
    while True:
        request = fl_get32(&g.reopen)
        if request != g.reopened:
            _ring_reopen(g, request)
            _ring_tell(g)
        if fl_get32(&g.tail_full) != g.head_full:
            _ring_deliver(g)
            _ring_tell(g)
        elif fl_get32(&g.stop):
            return
        else:
            _ring_sleep(g)


# ---- owner -------------------------------------------------------------------------------------------------

cdef Ring* _ring_new(uint32_t count, uint32_t chunk) except NULL:
    cdef Ring* g = <Ring*>calloc(1, sizeof(Ring))
    cdef void* memory
    if g == NULL:
        raise MemoryError
    g.wake_fd = -1
    g.done_fd = -1
    g.sink.fd = -1
    g.count = count
    g.chunk = chunk
    g.full = <uint32_t*>calloc(<size_t>count * 4, 4)
    memory = mmap(
        NULL, <size_t>count * chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0
    )
    if memory == MAP_FAILED or g.full == NULL:
        if memory != MAP_FAILED:
            munmap(memory, <size_t>count * chunk)
        free(g.full)
        free(g)
        raise MemoryError
    g.memory = <char*>memory
    g.spare = g.full + count
    g.size = g.full + 2 * count
    g.held = g.full + 3 * count
    g.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    g.done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    sink_init(&g.sink, g.wake_fd)
    if g.wake_fd < 0 or g.done_fd < 0:
        code = errno
        _ring_free(g)
        raise OSError(code, "eventfd: " + os.strerror(code))
    return g


cdef void _ring_free(Ring* g) noexcept:
    sink_close(&g.sink)
    if g.wake_fd >= 0:
        close(g.wake_fd)
    if g.done_fd >= 0:
        close(g.done_fd)
    free(g.tap)
    free(g.sink.path)
    munmap(g.memory, <size_t>g.count * g.chunk)
    free(g.full)
    free(g)


cdef int _name_unix(Sink* s, bytes path) except -1:
    """The address of a syslog daemon's Unix socket."""
    cdef sockaddr_un* un = <sockaddr_un*>&s.address
    if not 0 < len(path) < <Py_ssize_t>sizeof(un.sun_path):
        raise ValueError(f"path of a Unix socket must have 1 to {sizeof(un.sun_path) - 1} bytes, not {len(path)}")
    memset(&s.address, 0, sizeof(s.address))
    un.sun_family = AF_UNIX
    memcpy(un.sun_path, <const char*>path, len(path))
    s.address_len = sizeof(sockaddr_un)
    s.kind = SINK_DATAGRAM
    return _set_path(s, path)


cdef int _name_udp(Sink* s, str host, int port) except -1:
    """The address of a syslog daemon on the network; resolved once, here."""
    family, _, _, _, address = next(iter(_socket.getaddrinfo(host, port, type=_socket.SOCK_DGRAM)))
    with _socket.socket(family, _socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        s.address_len = sizeof(s.address)
        if getpeername(probe.fileno(), <sockaddr*>&s.address, &s.address_len) < 0:
            _raise_errno("getpeername")
    s.kind = SINK_DATAGRAM
    return 0


cdef int _set_path(Sink* s, bytes path) except -1:
    s.path = strdup(path)
    if s.path == NULL:
        raise MemoryError
    return 0


cdef object _raise_errno(str what):
    cdef int code = errno
    raise OSError(code, os.strerror(code), what)


def _syslog_target(str target):
    """('udp', host, port) or ('unix', path) of a syslog target; ValueError says what is wrong with it."""
    rest = target[len("syslog:"):]
    if rest.startswith("unix:"):
        return "unix", rest[len("unix:"):]
    if not rest.startswith("udp://"):
        raise ValueError(f"log target {target!r}: expected syslog:udp://HOST:PORT or syslog:unix:PATH")
    rest = rest.removeprefix("udp://")
    host, colon, port = rest.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = rest, "514"
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"log target {target!r}: expected syslog:udp://HOST:PORT with a port from 1 to 65535")
    return "udp", host, int(port)


cdef class _Owner:
    """Keeps a ring alive for its thread and for its log; whoever lets go last frees it."""

    cdef Ring* ring

    def __cinit__(self, uint32_t count, uint32_t chunk):
        self.ring = _ring_new(count, chunk)

    def __dealloc__(self):
        if self.ring != NULL:
            _ring_free(self.ring)

    def run(self):
        with nogil:
            _ring_run(self.ring)


cdef class LogWriter:
    """A ring, its target and the thread between them.

    `target`: "stdout", "stderr", "syslog:udp://host[:514]", "syslog:unix:/path" or the path of a file or named pipe.
    `memory`: bytes of lines that may wait for the target, at least two chunks; `chunk`: bytes handed over at once.
    Raises ValueError for a malformed target and OSError when it cannot be opened. A Unix syslog socket that is
    not there yet is no error: its lines are lost, and counted, until it is.
    """

    def __init__(self, str target, uint32_t memory, uint32_t chunk):
        cdef _Owner owner = _Owner(max(2, memory // chunk), chunk)
        self._owner = owner
        self.target = target
        _open_target(&owner.ring.sink, target)
        owner.ring.line_limit = sink_line_limit(&owner.ring.sink)
        self._thread = threading.Thread(target=owner.run, name=f"fastlb-log {target}", daemon=True)
        self._thread.start()
        self.ring = owner.ring

    def __dealloc__(self):
        # Nobody closed it (another configuration replaced it, say): the thread delivers what is left by itself.
        if self.ring != NULL:
            ring_flush(self.ring, True)
            fl_set32(&self.ring.stop, 1)
            _ring_wake(self.ring)

    cdef void reopen(self) noexcept:
        fl_bump32(&self.ring.reopen)
        _ring_wake(self.ring)

    cdef bint sync(self, double seconds) except -1:
        cdef Ring* g = self.ring
        cdef pollfd p
        cdef int left
        ring_flush(g, True)
        cdef uint32_t chunks = g.tail_full
        cdef uint32_t reopens = fl_get32(&g.reopen)
        end = time.monotonic() + seconds
        fl_swap32(&g.watched, 1)
        try:
            while <int32_t>(fl_get32(&g.head_full) - chunks) < 0 or <int32_t>(fl_get32(&g.reopened) - reopens) < 0:
                left = <int>max(0.0, (end - time.monotonic()) * 1000 + 0.999)
                if left == 0:
                    return False
                p.fd = g.done_fd
                p.events = POLLIN
                p.revents = 0
                with nogil:
                    poll(&p, 1, left)
                    _ring_clear(p.fd)
        finally:
            fl_swap32(&g.watched, 0)
        return True

    cdef bint finish(self, double seconds) except -1:
        cdef Ring* g = self.ring
        ring_flush(g, True)
        fl_set32(&g.stop, 1)
        _ring_wake(g)
        self._thread.join(seconds)
        if self._thread.is_alive():
            _ring_give_up(g)
            self._thread.join(1.0)
        # a thread that still lives hangs in write() to a blocking descriptor; it keeps the ring to itself
        self.refused = g.refused
        self.lost = fl_get64(&g.lost)
        self.written = fl_get64(&g.written)
        if self._thread.is_alive():
            self.lost = g.accepted - self.written
        self.ring = NULL
        self._owner = None
        return self.refused + self.lost == 0


cdef void _ring_give_up(Ring* g) noexcept nogil:
    """End the thread without waiting for a target that stalls; what it still has counts as lost."""
    fl_set32(&g.stop, 1)
    fl_set32(&g.sink.abandon, 1)
    _ring_ring(g)


cdef int _open_target(Sink* sink, str target) except -1:
    if target in ("stdout", "stderr"):
        fd = fcntl.fcntl(1 if target == "stdout" else 2, fcntl.F_DUPFD_CLOEXEC, 3)
        if sink_adopt(sink, fd) < 0:
            _raise_errno(target)
    elif target.startswith("syslog:"):
        where = _syslog_target(target)
        if where[0] == "unix":
            _name_unix(sink, os.fsencode(where[1]))
            sink_connect(sink)  # may fail, lines will try again
        else:
            _name_udp(sink, where[1], where[2])
            if sink_connect(sink) < 0:
                _raise_errno(target)
    elif not target or "\0" in target:
        raise ValueError(f"log target {target!r}: expected stdout, stderr, a file, syslog:... or off")
    else:
        _set_path(sink, os.fsencode(target))
        if sink_open_file(sink) < 0:
            _raise_errno(target)
    return 0
