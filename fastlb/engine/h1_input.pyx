"""What a client of HTTP/1.x has sent and nobody has used yet: the rest of a partial head, and pipelined requests.

Such bytes lie in one chunk, which is the connection's only while there are any. It is lent out while its bytes are
processed (`core.feeding`), so that a tail of it is kept without a copy.
"""

cimport cython
from libc.stdint cimport uint32_t
from libc.stdlib cimport free
from libc.string cimport memcpy
from fastlb._core.debug cimport FL_ASSERT
from fastlb.engine.buffer cimport chunk_free, chunk_new
from fastlb.engine.core cimport Core
from fastlb.engine.stream cimport STREAM_READABLE

cdef enum:
    PIPELINE_ROUNDS = 16        # requests served from one input before others get their turn


@cython.no_gc
cdef class H1Input(ClientConnection):
    """A client connection with what it has sent too early."""

    def __dealloc__(self):
        chunk_free(self.inb)
        free(self.partial)

    cdef void process(self, const char* p, size_t n) noexcept:
        pass

    cdef void process_input(self) noexcept:
        cdef Core core = self.core
        cdef Chunk* c = self.inb
        cdef Chunk* outer_feeding = core.feeding
        cdef bint outer = self.working
        self.inb = NULL
        core.feeding = c
        self.working = True
        self.process(c.data + c.start, c.end - c.start)
        self.working = outer
        if core.feeding == c:
            chunk_free(c)
        core.feeding = outer_feeding

    cdef void keep_input(self, const char* p, size_t n) noexcept:
        cdef Chunk* c = self.core.feeding
        if n == 0:
            return
        if c != NULL and c.data <= p < c.data + c.cap:
            c.start = <uint32_t>(p - c.data)
            self.core.feeding = NULL
            self.inb = c
            return
        FL_ASSERT(self.inb == NULL, b"input kept once")
        c = chunk_new(n + 1024)
        if c == NULL:
            self.shut(True)
            return
        memcpy(c.data, p, n)
        c.end = <uint32_t>n
        self.inb = c

    cdef void next_request(self) noexcept:
        cdef int rounds = 0
        while more_input(self):
            if rounds >= PIPELINE_ROUNDS:
                self.core.reactor.defer(self)
                return
            rounds += 1
            self.process_input()
        if self.state == CLIENT_HEAD and self.stream_flags & STREAM_READABLE:
            self.core.reactor.defer(self)

    cdef bint has_input(self) noexcept:
        return self.inb != NULL

    cdef void forget_input(self) noexcept:
        chunk_free(self.inb)
        self.inb = NULL
