"""The load generator: HTTP/1.1 over a number of connections, as fast as answers come or at a fixed rate.

At a fixed rate (open loop) a request has a time at which it is due, whatever became of those before it, and its latency
counts from then: a stall of the proxy is felt by all who would have come meanwhile, not by the one that waited
(coordinated omission). It looks every TICK then, so that what it costs itself grows with neither rate nor answers: up
to so much is added to a latency, whoever is measured. One thread, one epoll set, no Python on the way. Over TLS where
asked.
"""

from libc.errno cimport EAGAIN, EINTR, ENOTCONN, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr

from fastlb.bench.tls_client cimport (bench_ssl_close, bench_ssl_context, bench_ssl_context_free, bench_ssl_find,
                                      bench_ssl_forget, bench_ssl_keep, bench_ssl_open, bench_ssl_recv, bench_ssl_send)

import socket

cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <arpa/inet.h>
    #include <string.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <strings.h>
    #include <sys/epoll.h>
    #include <sys/prctl.h>
    #include <sys/socket.h>
    #include <sys/timerfd.h>
    #include <time.h>
    #include <unistd.h>
    static inline unsigned long long bench_now(void)
    { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ULL + t.tv_nsec; }
    static inline void bench_sleep(unsigned long long until)
    { struct timespec t = {until / 1000000000ULL, until % 1000000000ULL};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL); }
    static inline void bench_punctual(void) { prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL); }
    static inline void bench_wake(int fd, unsigned long long at)
    { struct itimerspec s = {{0, 0}, {at / 1000000000ULL, at % 1000000000ULL}};
      timerfd_settime(fd, TFD_TIMER_ABSTIME, &s, 0); }
    static inline int bench_connect(unsigned ip, int port)
    { int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
      a.sin_addr.s_addr = ip;
      if (fd < 0) return -1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      if (connect(fd, (struct sockaddr*)&a, sizeof a) < 0 && errno != EINPROGRESS) { close(fd); return -1; }
      return fd; }
    static inline int bench_watch(int ep, int fd, unsigned events, unsigned index, int op)
    { struct epoll_event e = { .events = events }; e.data.u32 = index; return epoll_ctl(ep, op, fd, &e); }
    """
    ctypedef struct epoll_data_t:
        uint32_t u32
    ctypedef struct epoll_event "struct epoll_event":
        uint32_t events
        epoll_data_t data
    enum:
        EPOLLIN, EPOLLOUT, EPOLLET, EPOLLRDHUP, EPOLL_CTL_ADD, EPOLL_CLOEXEC, MSG_NOSIGNAL
        CLOCK_MONOTONIC, TFD_NONBLOCK, TFD_CLOEXEC
    int epoll_create1(int flags)
    int epoll_wait(int ep, epoll_event* events, int n, int timeout)
    int timerfd_create(int clock, int flags)
    ssize_t read(int fd, void* buf, size_t n)
    ssize_t recv(int fd, void* buf, size_t n, int flags)
    ssize_t send(int fd, const void* buf, size_t n, int flags)
    int close(int fd)
    void* memmem(const void* a, size_t n, const void* b, size_t m)
    int strncasecmp(const char* a, const char* b, size_t n)
    uint64_t bench_now()
    void bench_sleep(uint64_t until)
    void bench_punctual()
    void bench_wake(int fd, uint64_t at)
    int bench_connect(uint32_t ip, int port)
    int bench_watch(int ep, int fd, uint32_t events, uint32_t index, int op)

cdef enum:
    HEAD = 8192                 # largest head of an answer
    BATCH = 512
    WAVE = 128                  # connections that are opened at a time
    SCRATCH = 262144
    TIMER = 0xFFFFFFFF
    TICK = 50_000               # ns; how often it looks at a fixed rate
    # latencies: 64 buckets for each power of two of microseconds, 1.6 % wide
    PARTS = 64
    POWERS = 32

cdef enum State:
    CLOSED, IDLE, UPGRADING, SENDING, WAITING, BODY

ctypedef struct Conn:
    int fd
    State state
    uint64_t due                # ns; when the request should have been sent
    size_t sent
    int64_t left                # of the body; -1 = until the end
    size_t have                 # of the head
    char* head
    void* tls                   # SSL, or NULL
    void* session               # of the last connection, where sessions are resumed

cdef inline int bucket(uint64_t us) noexcept nogil:
    cdef int power = 0
    if us < PARTS:
        return <int>us
    while us >= 2 * PARTS:
        us >>= 1
        power += 1
    return min(PARTS * (power + 1) + <int>(us - PARTS), PARTS * POWERS - 1)

cdef inline uint64_t bucket_top(int i) noexcept nogil:
    if i < PARTS:
        return i
    return ((<uint64_t>(PARTS + i % PARTS) + 1) << (i // PARTS - 1)) - 1


cdef class Generator:
    """Sends `request` to host:port (IPv4) over `connections`; `prepare`, if at all, and then `run` may be called once.

    rate      requests a second, spread evenly; 0 = each connection asks again as soon as it is answered
    close     the server closes after each answer: a connection for each request
    upgrade   sent first on each connection and answered with 101; then `request` is a message whose answer has `expect`
              bytes
    tls       the server's name in TLS; certificates are not verified. Empty: plain
    resume    with `close` and `tls`: each connection but the first of each slot resumes the session of the one before
    """

    cdef:
        bytes _request, _upgrade, _tls
        void* _context          # SSL_CTX, or NULL
        bint _resume
        uint32_t _ip
        int _port, _n, _ep, _timer, _nidle
        size_t _expect
        bint _close
        double _rate
        Conn* _conns
        uint32_t* _idle         # stack of connections without a request
        char* _scratch
        char* _heads
        uint64_t _counts[PARTS * POWERS]
        uint64_t _answers, _errors, _refused, _bytes, _late_ns
        uint64_t _end
        bint _begun

    def __cinit__(self, str host, int port, bytes request not None, *, int connections=1, double rate=0,
                  bint close=False, bytes upgrade=b"", size_t expect=0, str tls="", bint resume=False):
        cdef int i
        if connections < 1 or not request:
            raise ValueError("at least one connection, and a request")
        self._request, self._upgrade, self._port = request, upgrade, port
        self._n, self._rate, self._close, self._expect = connections, rate, close, expect
        self._tls, self._resume = tls.encode("ascii"), resume
        if tls:
            import _ssl
            module = getattr(_ssl, "__file__", None)
            path = module.encode() if module else b""
            if not bench_ssl_find(<const char*>path if module else NULL):
                raise OSError("the interpreter's libssl cannot be called: TLS cells need one that is a library")
            self._context = bench_ssl_context()
            if self._context == NULL:
                raise MemoryError
        self._ip = int.from_bytes(socket.inet_aton(host), "little")
        self._conns = <Conn*>calloc(connections, sizeof(Conn))
        self._idle = <uint32_t*>calloc(connections, sizeof(uint32_t))
        self._heads = <char*>calloc(connections, HEAD)
        self._scratch = <char*>calloc(1, SCRATCH)
        self._ep = epoll_create1(EPOLL_CLOEXEC)
        self._timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if not self._conns or not self._idle or not self._heads or not self._scratch or self._ep < 0 or self._timer < 0:
            raise MemoryError
        for i in range(connections):
            self._conns[i].fd = -1
            self._conns[i].head = self._heads + <size_t>i * HEAD

    def __dealloc__(self):
        cdef int i
        if self._conns != NULL:
            for i in range(self._n):
                if self._conns[i].tls != NULL:
                    bench_ssl_close(self._conns[i].tls)
                bench_ssl_forget(self._conns[i].session)
                if self._conns[i].fd >= 0:
                    close(self._conns[i].fd)
        bench_ssl_context_free(self._context)
        close(self._ep)
        close(self._timer)
        free(self._conns)
        free(self._idle)
        free(self._heads)
        free(self._scratch)

    def prepare(self, double patience=30.0):
        """Opens every connection and has one answer on each, so that `run` counts neither; returns how many succeeded.

        Raises TimeoutError when that takes longer than `patience` seconds.
        """
        cdef epoll_event events[BATCH]
        cdef uint64_t now = bench_now()
        cdef uint64_t deadline = now + <uint64_t>(patience * 1e9)
        cdef int n, i, begun = 0
        cdef uint64_t answered
        self._begun = True
        # In waves: a burst of thousands overflows queues of the kernel, and what becomes of it then is not measured
        while begun < self._n or self._nidle < self._n:
            while begun < self._n and begun - self._nidle < WAVE:
                if not self._open(begun):  # what it asks is sent once it is connected
                    self._failed(begun)
                begun += 1
            with nogil:
                n = epoll_wait(self._ep, events, BATCH, 100)
            now = bench_now()
            for i in range(n):
                self._serve(events[i].data.u32, now)
            if now > deadline:
                n = self._n - self._nidle
                raise TimeoutError(f"{n} of {self._n} connections have no answer after {patience:g} s")
        answered = self._n - self._errors
        self._answers = self._errors = self._refused = self._bytes = 0
        for i in range(PARTS * POWERS):
            self._counts[i] = 0
        return answered

    def run(self, double seconds):
        """Asks for so long; what is unanswered then does not count, but at a fixed rate its wait does.

        Returns answers, errors (broken, refused, malformed), refused (statuses of 400 and more), bytes of bodies,
        seconds taken, `late` (mean seconds that the generator itself sent after the due time although a connection was
        free), and latencies: {microseconds: count}.
        """
        cdef epoll_event events[BATCH]
        cdef uint64_t began, now, due = 0, step = 0, dummy
        cdef int n, i
        bench_watch(self._ep, self._timer, EPOLLIN | EPOLLET, TIMER, EPOLL_CTL_ADD)
        if not self._begun:
            for i in range(self._n):
                self._idle[i] = self._n - 1 - i
            self._nidle = self._n
            if self._upgrade:
                self._nidle = 0
                for i in range(self._n):
                    self._open(i)
        began = now = bench_now()
        self._end = began + <uint64_t>(seconds * 1e9)
        if self._rate > 0:
            step = <uint64_t>(1e9 / self._rate)
            due = began + step
            bench_punctual()
        bench_wake(self._timer, self._end)
        while now < self._end:
            if step:
                while self._nidle and due <= now:
                    self._late_ns += now - due if due + step > now or self._nidle == self._n else 0
                    self._start(due)
                    due += step
                with nogil:
                    bench_sleep(now + TICK)
            else:
                n = self._nidle
                while n:  # as many as there are: who fails at once is idle again and waits for the next turn
                    self._start(now)
                    n -= 1
            with nogil:
                n = epoll_wait(self._ep, events, BATCH, 0 if step else 1000)
            if n < 0 and errno != EINTR:
                raise OSError(errno, "epoll_wait")
            now = bench_now()
            for i in range(n):
                if events[i].data.u32 == TIMER:
                    read(self._timer, &dummy, sizeof(dummy))
                else:
                    self._serve(events[i].data.u32, now)
        if step:
            # Those that were due and got no answer waited at least until now
            for i in range(self._n):
                if self._conns[i].state >= SENDING:
                    self._counts[bucket((now - self._conns[i].due) // 1000)] += 1
            while due < now:
                self._counts[bucket((now - due) // 1000)] += 1
                due += step
        return {
            "answers": self._answers, "errors": self._errors, "refused": self._refused, "bytes": self._bytes,
            "seconds": (now - began) / 1e9, "late": self._late_ns / 1e9 / max(self._answers, 1),
            "latencies": {bucket_top(i): self._counts[i] for i in range(PARTS * POWERS) if self._counts[i]},
        }

    cdef bint _open(self, uint32_t i) noexcept:
        cdef Conn* c = &self._conns[i]
        c.fd = bench_connect(self._ip, self._port)
        if c.fd < 0:
            return False
        c.sent = c.have = 0
        if self._context != NULL:
            c.tls = bench_ssl_open(self._context, c.fd, self._tls, c.session if self._resume else NULL)
            if c.tls == NULL:
                self._reset(c)
                return False
        c.state = UPGRADING if self._upgrade else SENDING
        bench_watch(self._ep, c.fd, EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, i, EPOLL_CTL_ADD)
        return True

    cdef void _start(self, uint64_t due) noexcept:
        cdef uint32_t i
        cdef Conn* c
        self._nidle -= 1
        i = self._idle[self._nidle]
        c = &self._conns[i]
        c.due = due
        if c.state == CLOSED:
            if not self._open(i):
                self._failed(i)
                return
            c.due = due
            if self._upgrade:
                return
        c.state = SENDING
        c.sent = c.have = 0
        self._send(i)

    cdef void _send(self, uint32_t i) noexcept:
        cdef Conn* c = &self._conns[i]
        cdef bytes what = self._upgrade if c.state == UPGRADING else self._request
        cdef const char* p = what
        cdef size_t size = len(what)
        cdef ssize_t n
        while c.sent < size:
            if c.tls != NULL:
                n = bench_ssl_send(c.tls, p + c.sent, size - c.sent)
            else:
                n = send(c.fd, p + c.sent, size - c.sent, MSG_NOSIGNAL)
            if n < 0:
                if errno == EAGAIN or errno == ENOTCONN:  # still connecting
                    return
                self._failed(i)
                return
            c.sent += n
        if c.state == SENDING:
            c.state = WAITING
            if self._upgrade:
                c.state = BODY
                c.left = self._expect

    cdef void _serve(self, uint32_t i, uint64_t now) noexcept:
        cdef Conn* c = &self._conns[i]
        cdef ssize_t n
        if c.fd < 0:
            return
        if c.state == SENDING or (c.state == UPGRADING and c.sent < <size_t>len(self._upgrade)):
            self._send(i)
        while c.fd >= 0:
            if c.state == BODY:
                n = self._receive(c, self._scratch, SCRATCH)
            else:
                n = self._receive(c, c.head + c.have, HEAD - c.have)
            if n < 0:
                if errno != EAGAIN:
                    self._failed(i)
                return
            if n == 0:
                if c.state == BODY and c.left < 0:
                    self._done(i, now)
                elif c.state == IDLE:
                    self._reset(c)  # the server gave up an idle connection: the next request opens another one
                else:
                    self._failed(i)
                return
            if c.state == BODY:
                self._bytes += n
                if c.left >= 0:
                    c.left -= n
                    if c.left <= 0:
                        self._done(i, now)
                        return  # nothing more can be there
            else:
                c.have += n
                if not self._head(i, now) or c.state == IDLE:
                    return

    cdef inline ssize_t _receive(self, Conn* c, char* to, size_t n) noexcept:
        if c.tls != NULL:
            return bench_ssl_recv(c.tls, to, n)
        return recv(c.fd, to, n, 0)

    # Looks for the end of the answer's head; False when the connection is in no state to go on.
    cdef bint _head(self, uint32_t i, uint64_t now) noexcept:
        cdef Conn* c = &self._conns[i]
        cdef char* end = <char*>memmem(c.head, c.have, b"\r\n\r\n", 4)
        cdef char* p = c.head
        cdef int64_t length = -1
        cdef size_t rest
        if end == NULL:
            if c.have == HEAD or c.state == IDLE:
                self._failed(i)
                return False
            return True
        if c.have < 12:
            self._failed(i)
            return False
        if c.state == UPGRADING:
            if p[9] != 49:  # 1xx
                self._failed(i)
                return False
            c.state = IDLE
            self._idle[self._nidle] = i
            self._nidle += 1
            return True
        if p[9] >= 52:  # 4xx, 5xx
            self._refused += 1
        while p < end:
            p = <char*>memchr(p, 10, end - p)
            if p == NULL:
                break
            p += 1
            if end - p > 15 and strncasecmp(p, b"content-length:", 15) == 0:
                p += 15
                while p[0] == 32:
                    p += 1
                length = 0
                while 48 <= p[0] <= 57:
                    length = length * 10 + p[0] - 48
                    p += 1
        rest = c.have - (end + 4 - c.head)
        if length < 0 and not self._close:
            self._failed(i)  # chunked: the comparison's servers do not answer so
            return False
        self._bytes += rest
        c.left = length - <int64_t>rest if length >= 0 else -1
        c.state = BODY
        if c.left == 0:
            self._done(i, now)
        return True

    cdef void _done(self, uint32_t i, uint64_t now) noexcept:
        cdef Conn* c = &self._conns[i]
        self._answers += 1
        self._counts[bucket((now - c.due) // 1000)] += 1
        if self._resume and c.tls != NULL and not bench_ssl_keep(c.tls, &c.session):
            self._errors += 1
        if self._close:
            self._reset(c)
        else:
            c.state = IDLE
            c.have = 0
        self._idle[self._nidle] = i
        self._nidle += 1

    cdef void _failed(self, uint32_t i) noexcept:
        cdef Conn* c = &self._conns[i]
        cdef bint idle = c.state == IDLE
        self._errors += 1
        self._reset(c)
        if not idle:
            self._idle[self._nidle] = i
            self._nidle += 1

    cdef void _reset(self, Conn* c) noexcept:
        if c.tls != NULL:
            bench_ssl_close(c.tls)
        c.tls = NULL
        if c.fd >= 0:
            close(c.fd)
        c.fd = -1
        c.state = CLOSED
        c.have = c.sent = 0
