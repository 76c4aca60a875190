"""A request that the proxy makes itself.

It is the client's side of an exchange without a client: the exchange, the backend and the connection to the server know
no difference. It has no descriptor; the reactor holds a reference from `start` on and drops it when all is over, so a
timer never meets it after its end.
"""

from cpython.ref cimport Py_INCREF
from libc.string cimport memcpy, memset
from fastlb._core.net cimport AF_INET, AF_INET6, sockaddr, sockaddr_in, sockaddr_in6
from fastlb.engine.admission cimport enter_backend
from fastlb.engine.networks cimport format_address
from fastlb.engine.paired_exchange cimport exchange_new
from fastlb.engine.reactor cimport HANDLER_REGISTERED, clear_deadline, set_deadline
from fastlb.engine.stats cimport COUNT_CURRENT
from fastlb.engine.stream cimport SENT_ALL, SENT_ERROR
from fastlb.http.fields cimport FRAMING_CHUNKED
from fastlb.http.identity cimport make_request_id


cdef class InnerRequest(ClientSide):
    """A request that the proxy makes itself; see the module."""

    def __cinit__(self):
        self.fd = -1

    cdef void speak_for(self, Exchange e) noexcept:
        cdef const sockaddr* peer = e.client.peer()
        memset(&self.address, 0, sizeof(self.address))
        if peer != NULL and peer.sa_family == AF_INET:
            memcpy(&self.address, peer, sizeof(sockaddr_in))
        elif peer != NULL and peer.sa_family == AF_INET6:
            memcpy(&self.address, peer, sizeof(sockaddr_in6))
        self.port_there = e.client.peer_port()
        self.port_here = e.client.local_port()
        self.tls = e.https

    cdef void start(self, Core core, Action action, Frontend front, Chunk* saved, uint32_t head_len,
                    uint32_t ms) noexcept:
        cdef Exchange e = exchange_new(core, front)
        self.core = core
        self.front = front
        self.handler_flags |= HANDLER_REGISTERED
        Py_INCREF(self)
        if ms:
            self.until_ms = core.reactor.now_ms + ms
            set_deadline(core.reactor, self, self.until_ms)
        self.exchange = e
        e.client = self
        e.start_us = e.head_us = core.reactor.now_us
        e.saved = saved
        e.head_len = head_len
        e.body_len = saved.end - head_len
        e.bytes_in = saved.end
        e.request_done = True
        e.keep_alive = True
        e.sticky.wanted = -1
        e.action = action
        e.extras = self.lines
        e.client_len = format_address(self.peer(), e.client_text)
        e.client_port = self.port_there
        e.https = self.tls
        make_request_id(e.request_id)
        front.counters[COUNT_CURRENT] += 1
        core.request_base = NULL
        if not e.load_head():
            e.fail(500, b"IR", b"a request of the proxy's own does not parse")
            return
        e.method = core.request.method
        e.minor = 1
        e.framing = core.request.framing
        e.line = core.request.line
        e.host = core.request.host
        enter_backend(e, action.backend, core.request)

    cdef void abort(self) noexcept:
        cdef Exchange e = self.exchange
        self.exchange = None
        self._let_go()
        if e is not None:
            e.client_gone()

    cdef void answer_head(self, const ResponseHead* h, const char* buf) noexcept: pass
    cdef bint answer_body(self, const char* p, size_t n) noexcept: return True
    cdef void finished(self, int status) noexcept: pass

    cdef void _let_go(self) noexcept:
        if self.core is not None:
            self.core.reactor.remove(self)

    cdef void _over(self, bint succeeded, int status) noexcept:
        self.exchange = None
        self.succeeded = succeeded
        self._let_go()
        self.finished(status)

    # --- what the exchange asks of its client's side

    cdef void on_timer(self) noexcept:
        cdef Exchange e = self.exchange
        if e is None:
            return
        if self.until_ms and self.core.reactor.now_ms >= self.until_ms:
            self.gone()
        else:
            e.client_timed_out()
            if self.exchange is not None and self.until_ms and self.deadline == 0:
                set_deadline(self.core.reactor, self, self.until_ms)

    cdef int respond(self, Exchange e, const ResponseHead* h, const char* buf, const char* body, size_t n,
                     bint end) noexcept:
        self.chunked = h.framing == FRAMING_CHUNKED
        e.bytes_out += <uint64_t>h.length
        self.answer_head(h, buf)
        return self.relay(e, body, n)

    cdef int interim(self, Exchange e, const ResponseHead* h, const char* buf) noexcept:
        return SENT_ALL

    cdef int relay(self, Exchange e, const char* p, size_t n) noexcept:
        e.bytes_out += n
        return SENT_ALL if n == 0 or self.answer_body(p, n) else SENT_ERROR

    cdef void answer(self, Exchange e, const char* p, size_t n, bint close) noexcept:
        self._over(False, e.status)

    cdef void response_done(self, Exchange e) noexcept:
        self._over(True, e.status)

    cdef void break_off(self, Exchange e, bint reset) noexcept:
        self._over(False, 502)

    cdef void gone(self) noexcept:
        """It takes too long, or nobody wants the rest."""
        cdef Exchange e = self.exchange
        self.exchange = None
        if e is not None:
            e.client_gone()
        self._over(False, 504)

    cdef void wait_until(self, uint64_t deadline_ms) noexcept:
        if self.until_ms and (deadline_ms == 0 or deadline_ms > self.until_ms):
            deadline_ms = self.until_ms
        if deadline_ms:
            set_deadline(self.core.reactor, self, deadline_ms)
        else:
            clear_deadline(self)

    cdef const sockaddr* peer(self) noexcept:
        return <const sockaddr*>&self.address

    cdef uint16_t peer_port(self) noexcept:
        return self.port_there

    cdef uint16_t local_port(self) noexcept:
        return self.port_here

    cdef void local_address(self, sockaddr_storage* out) noexcept:
        memset(out, 0, sizeof(out[0]))

    cdef bint https(self) noexcept:
        return self.tls
