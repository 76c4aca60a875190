"""The least that a client must send of a request's body, or take of an answer, in a window of time.

A client that sends a byte now and then keeps every timeout between two bytes, and holds a connection and a server for
hours (Apache: RequestReadTimeout with MinRate, which knows no answers). Bytes are looked at once a window. Where the
client had to wait within it, for the server, for bandwidth or for 100 (Continue), the window begins anew, so nobody is
late for what others are slow at.
"""

cimport cython
from fastlb.engine.client_connection cimport CLIENT_BODY, CLIENT_CLOSED, CLIENT_LINGER, CLIENT_TUNNEL
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.reactor cimport clear_deadline, set_deadline
from fastlb.engine.stats cimport COUNT_SLOW_REQUESTS, COUNT_SLOW_RESPONSES
from fastlb.engine.stream cimport STREAM_PAUSED, STREAM_READABLE


cdef inline int64_t taken_by(ClientConnection c, Exchange e) noexcept:
    """Bytes of the answer that the kernel has taken for the client; of the end of an answer, counted from its end."""
    return (<int64_t>e.bytes_out if e is not None else 0) - <int64_t>c.out_bytes


cdef inline uint32_t waits_of(Exchange e) noexcept:
    if e is None or e.extras is None or e.extras.request_rate is None:
        return 0
    return e.extras.request_rate.waits


@cython.final
@cython.no_gc
cdef class Pace(EventHandler):
    """Of one client. It has no descriptor: it lives by its deadline."""

    def __dealloc__(self):
        if self.reactor is not None:
            self.reactor.remove(self)

    cdef void begin(self, ClientConnection c) noexcept:
        cdef Exchange e = c.exchange
        self.came = e.bytes_in if e is not None else 0
        self.taken = taken_by(c, e)
        self.waits = waits_of(e)
        self.alone = e is None
        set_deadline(self.reactor, self, self.reactor.now_ms + c.front.pace_ms)

    cdef void on_timer(self) noexcept:
        cdef ClientConnection c = <ClientConnection>self.client
        cdef Exchange e = c.exchange
        if c.state == CLIENT_CLOSED or c.state == CLIENT_TUNNEL or c.state == CLIENT_LINGER or c.front.pace_ms == 0:
            return
        if c.state == CLIENT_BODY and e is not None and not e.request_done:
            if (not e.awaits and not c.stream_flags & (STREAM_PAUSED | STREAM_READABLE) and self.waits == waits_of(e)
                    and e.bytes_in - self.came < c.front.least_in):
                c.front.counters[COUNT_SLOW_REQUESTS] += 1
                e.body_refused(408, b"client sends the request body too slowly")
                return
        elif c.out == NULL:
            return                      # it keeps up; whoever finds it behind again watches it again
        elif self.alone == (e is None) and taken_by(c, e) - self.taken < <int64_t>c.front.least_out:
            c.front.counters[COUNT_SLOW_RESPONSES] += 1
            if e is None:
                c.shut(True)            # a FIN could pass for the end of the answer
            else:
                e.abandon(b"cD", b"client takes the answer too slowly")
            return
        self.begin(c)


cdef void pace_watch(ClientConnection c) noexcept:
    cdef Pace p
    if c.pace is None:
        p = Pace.__new__(Pace)
        p.fd = -1
        p.reactor = c.core.reactor
        p.client = <PyObject*>c
        c.pace = p
    (<Pace>c.pace).begin(c)


cdef void pace_relieve(ClientConnection c) noexcept:
    if c.state == CLIENT_BODY:
        (<Pace>c.pace).begin(c)
    else:
        clear_deadline(c.pace)
