"""What all connections of one worker share."""

from libc.stdlib cimport free, malloc
from fastlb.engine.libssl cimport fl_wire, wire_free


cdef class Reporter:
    """Told of every exchange that ends."""

    cdef void report(self, PyObject* exchange) noexcept:
        pass

    cdef size_t explain(self, PyObject* exchange, char* h, size_t n) noexcept:
        return n


cdef class Core:
    """Scratch memory, loop and log of one worker."""

    def __cinit__(self, Reactor reactor not None, AccessLog log not None):
        self.reactor = reactor
        self.log = log
        self.reporter = Reporter()
        self.spans = SpanBuffer()
        self.waiting = []
        self.rbuf = <char*>malloc(READ_SIZE + 64)
        self.obuf = <char*>malloc(HEAD_OUT)
        self.request = <RequestHead*>malloc(sizeof(RequestHead))
        self.response = <ResponseHead*>malloc(sizeof(ResponseHead))
        if self.rbuf == NULL or self.obuf == NULL or self.request == NULL or self.response == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.rbuf)
        free(self.obuf)
        free(self.cbuf)
        wire_free(<fl_wire*>self.wire)
        free(self.request)
        free(self.response)

    cdef void defer_queues(self) noexcept:
        """Has the queues served after the batch."""
        self.queues_waiting = True
        if self.sweeper is not None:
            self.reactor.defer(self.sweeper)
