"""A client connection that speaks HTTP/1.x.

The connection reads a head, starts an exchange, passes the body on as it comes, writes the answer, and begins again.
One exchange at a time: what a client pipelines stays in the kernel's buffer, or in `inb` where it was read already.
An idle connection holds no buffer.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from fastlb._core.debug cimport FASTLB_DEBUG, LIVE_CLIENT, live_counters
from fastlb._core.net cimport (
    EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP)
from fastlb.engine.admission cimport capture_request, refuse_exchange, start_exchange
from fastlb.engine.buffer cimport Chunk, chunk_free, chunk_grow
from fastlb.engine.client_connection cimport (
    CLIENT_BODY, CLIENT_CLOSED, CLIENT_FLUSH, CLIENT_HEAD, CLIENT_LINGER, CLIENT_TUNNEL, CLIENT_WAIT)
from fastlb.engine.core cimport HEAD_OUT, READ_ROUNDS, READ_SIZE
from fastlb.engine.exchange cimport SENT_UNFIT, ServerSide
from fastlb.engine.extras cimport dress_response
from fastlb.engine.h1_input cimport more_input
from fastlb.engine.pace cimport pace_relieve, pace_watch
from fastlb.engine.paired_exchange cimport exchange_new
from fastlb.engine.reactor cimport clear_deadline, set_deadline
from fastlb.engine.sticking cimport stick_answer
from fastlb.engine.stream cimport (
    IO_AGAIN, IO_EOF, SENT_ALL, SENT_ERROR, SENT_PENDING, STREAM_CLOSED, STREAM_EOF, STREAM_LAST, STREAM_PAUSED,
    STREAM_READABLE)
from fastlb.engine.throttle cimport receive_within
from fastlb.engine.tunnel cimport tunnel_drained
from fastlb.http.chunked cimport CHUNK_END, CHUNK_ERROR, chunked_reset, chunked_scan
from fastlb.http.fields cimport (
    FIELD_EXPECT, FRAMING_CHUNKED, FRAMING_EOF, FRAMING_LENGTH, FRAMING_NONE, FRAMING_TUNNEL, PARSE_ERROR, reason_text)
from fastlb.http.request_head cimport RequestHead, parse_request_head, request_head_reset, request_head_size
from fastlb.http.response_head cimport ResponseHead
from fastlb.http.rewrite cimport ResponseInfo, write_response_head

cdef enum:
    COPY_BELOW = 8192           # a body run this short is copied behind the head: one plain send is cheaper


@cython.final
@cython.no_gc
cdef class H1Client(H1Input):
    """A client connection that speaks HTTP/1.x."""

    def __dealloc__(self):
        if FASTLB_DEBUG:
            live_counters()[LIVE_CLIENT] -= 1

    # --- events

    cdef void on_events(self, uint32_t events) noexcept:
        if self.fresh:
            # How things stood when it was accepted: an end among them came together with the request read then.
            self.fresh = False
            if events & EPOLLRDHUP and self.state == CLIENT_WAIT:
                self.half_closed = True
        if events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR):
            self.stream_flags |= STREAM_EOF
        if events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP | EPOLLERR):
            self.stream_flags |= STREAM_READABLE
        if events & EPOLLERR and self.state != CLIENT_TUNNEL:
            self.gone()
            return
        if events & EPOLLOUT and self.out != NULL:
            self._writable()
            if self.stream_flags & STREAM_CLOSED:
                return
        if self.stream_flags & STREAM_READABLE:
            self.read_more()

    cdef void on_deferred(self) noexcept:
        if more_input(self):
            self.next_request()
        elif self.stream_flags & STREAM_READABLE:
            self.read_more()

    cdef void on_timer(self) noexcept:
        cdef Exchange e = self.exchange
        if self.state == CLIENT_HEAD:
            if self.start_us == 0 or self.inb == NULL:
                if self.layer is not None and not self.layer.ready():
                    self.layer.expired()
                self.shut(False)        # idle: closed without a word, as every peer does
            else:
                self.refuse(self.inb.data + self.inb.start, self.inb.end - self.inb.start, 408, b"cR",
                            b"request head did not arrive in time")
        elif self.state == CLIENT_TUNNEL and self.held_back():
            self.touch_tunnel(e)
        elif self.state == CLIENT_TUNNEL:
            e.term[0] = c'c'
            e.term[1] = c'D'
            e.tunnel_over(False)
        elif self.state == CLIENT_BODY and self.stream_flags & STREAM_PAUSED and self.held_back():
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + self.front.client_ms)
        elif e is not None:
            e.client_timed_out()
        else:
            # FIN with part of the last answer unsent would pass for its end where only the end delimits it.
            self.shut(self.state == CLIENT_FLUSH and self.out != NULL)

    cdef void _writable(self) noexcept:
        cdef Exchange e = self.exchange
        cdef ServerSide up
        cdef int sent
        sent = self.flush()
        if self.state == CLIENT_TUNNEL:
            if sent == SENT_ERROR or (sent == SENT_ALL and tunnel_drained(self, self.tunnel)):
                e.tunnel_over(sent == SENT_ERROR)
            return
        if sent == SENT_ERROR:
            self.gone()
        elif self.state == CLIENT_LINGER:
            return                      # a goodbye of the layer's went out: the deadline stays
        elif sent == SENT_ALL:
            if self.pace is not None:
                pace_relieve(self)
            if self.state == CLIENT_FLUSH:
                self.leave()
                return
            if self.state == CLIENT_HEAD and self.listener.front.idle_ms:
                set_deadline(self.core.reactor, self, self.core.reactor.now_ms + self.listener.front.idle_ms)
            elif self.state == CLIENT_BODY and not self.stream_flags & STREAM_PAUSED and self.front.client_ms:
                # It reads an answer that came early and still owes the rest of its body.
                set_deadline(self.core.reactor, self, self.core.reactor.now_ms + self.front.client_ms)
            else:
                clear_deadline(self)
            if e is not None:
                up = e.up
                if up is not None:
                    up.resume()
            elif more_input(self):
                self.next_request()
        elif self.front.client_ms:
            # Progress: the client is slow, not gone.
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + self.front.client_ms)

    # --- reading

    cdef void read_more(self) noexcept:
        cdef Core core = self.core
        cdef ssize_t n
        cdef int rounds = 0
        cdef Chunk* c
        cdef uint32_t need
        while self.stream_flags & STREAM_READABLE:
            if self.state == CLIENT_WAIT:
                # Nothing is read while the answer is under way; only a hang-up matters. An end that came together with
                # the request is a client that has said all it wants to and waits for the answer.
                if self.stream_flags & STREAM_EOF and self.front.abort_on_close and not self.half_closed:
                    self.gone()
                return
            if self.state == CLIENT_TUNNEL:
                self.relay_tunnel()
                return
            if self.state == CLIENT_LINGER:
                self.linger()
                return
            if self.state > CLIENT_LINGER or self.state == CLIENT_FLUSH:
                return
            if self.state == CLIENT_HEAD and self.out != NULL:
                return              # who does not take the answers there are gets no further ones; _writable goes on
            if self.state == CLIENT_HEAD and self.inb != NULL and self.partial == NULL:
                # Requests that were read wait to be served. Reading on would let a client that sends faster than it
                # can be answered from memory alone (redirects, error pages) fill `inb` without bound.
                core.reactor.defer(self)
                return
            if self.state == CLIENT_BODY and self.stream_flags & STREAM_PAUSED:
                return
            if rounds >= READ_ROUNDS:
                core.reactor.defer(self)
                return
            rounds += 1
            if self.inb != NULL:
                c = self.inb
                if c.cap - c.end < 1024:
                    need = (c.end - c.start) * 2 + 4096
                    c = chunk_grow(c, need)
                    if c == NULL:
                        self.shut(True)
                        return
                    self.inb = c
                n = self.receive(c.data + c.end, c.cap - c.end)
                if n > 0:
                    c.end += <uint32_t>n
                    self.process_input()
                    if self.stream_flags & STREAM_CLOSED:
                        return
                    if more_input(self):
                        self.next_request()
                    continue
            else:
                n = self.receive(core.rbuf, READ_SIZE) if self.state != CLIENT_BODY else self.receive_body()
                if n > 0:
                    self.working = True
                    self.process(core.rbuf, <size_t>n)
                    self.working = False
                    if self.stream_flags & STREAM_CLOSED:
                        return
                    if more_input(self):
                        self.next_request()
                    continue
            if n == IO_AGAIN:
                return
            self._ended(n == IO_EOF)
            return

    cdef ssize_t receive_body(self) noexcept:
        cdef Exchange e = self.exchange
        if e.extras is None or e.extras.request_rate is None:
            return self.receive(self.core.rbuf, READ_SIZE)
        return receive_within(e.extras.request_rate, self, e.up, self.core.rbuf, READ_SIZE, True)

    cdef void _ended(self, bint orderly) noexcept:
        """The client sends no more."""
        if self.state == CLIENT_HEAD:
            if self.inb != NULL and self.start_us and orderly:
                self.refuse(self.inb.data + self.inb.start, self.inb.end - self.inb.start, 400, b"CR",
                            b"client closed before the request was complete")
            else:
                self.shut(False)
            return
        self.gone()

    cdef void process(self, const char* p, size_t n) noexcept:
        """Uses received bytes; what it cannot use yet it keeps."""
        cdef Core core = self.core
        cdef RequestHead* h = core.request
        cdef int got
        if self.state == CLIENT_BODY:
            self.body_bytes(p, n)
            return
        if self.state != CLIENT_HEAD:
            self.keep_input(p, n)
            return
        self.front = self.listener.front
        if self.start_us == 0:
            self.start_us = core.reactor.now_us
        if self.partial != NULL:
            memcpy(h, self.partial, request_head_size(self.partial))
        else:
            request_head_reset(h)
        core.request_base = NULL
        got = parse_request_head(h, p, <uint32_t>n, &self.front.limits)
        if got > 0:
            free(self.partial)
            self.partial = NULL
            self.begin_exchange(p, <uint32_t>got, n)
            return
        if got == PARSE_ERROR:
            capture_request(self, p, n, n, 0, False, h.status, reason_text(h.reason))
            self.refuse(p, n, h.status, b"PR", reason_text(h.reason))
            return
        if self.partial == NULL:
            self.partial = <RequestHead*>malloc(sizeof(RequestHead))
            if self.partial == NULL:
                self.shut(True)
                return
            # The head has this long in all, however its bytes trickle in. So has one that only sent empty lines.
            if self.front.header_ms:
                set_deadline(core.reactor, self, core.reactor.now_ms + self.front.header_ms)
            else:
                clear_deadline(self)
        memcpy(self.partial, h, request_head_size(h))
        self.keep_input(p, n)

    cdef void begin_exchange(self, const char* p, uint32_t head_len, size_t n) noexcept:
        cdef Core core = self.core
        cdef RequestHead* h = core.request
        cdef Exchange e
        cdef size_t used = 0
        cdef size_t rest = n - head_len
        cdef int whole
        clear_deadline(self)
        e = exchange_new(core, self.front)
        e.start_us = self.start_us
        self.start_us = 0
        self.exchange = e
        self.half_closed = self.stream_flags & STREAM_EOF != 0
        self.close_after = not h.keep_alive or self.retiring
        self.body_total = 0
        if h.framing == FRAMING_NONE:
            self.state = CLIENT_WAIT
            if rest:
                self.keep_input(p + head_len, rest)
                if self.state == CLIENT_CLOSED:
                    return
            start_exchange(e, self, p, head_len, 0, True)
            return
        if h.framing == FRAMING_LENGTH:
            self.body_left = h.content_length
        else:
            chunked_reset(&self.chunked)
        self.state = CLIENT_BODY
        e.framing = h.framing
        whole = self.take_body(p + head_len, rest, &used)
        if whole < 0 or self.front.max_body and self.body_total > self.front.max_body:
            self.state = CLIENT_WAIT
            self.close_after = True
            self.unread_body = True
            if whole < 0:
                capture_request(self, p, n, head_len + used, 0, True, 400, reason_text(self.chunked.reason))
                refuse_exchange(e, self, p, head_len, 400, b"PR", reason_text(self.chunked.reason))
            else:
                refuse_exchange(e, self, p, head_len, 413, b"PR", b"request body longer than limits.body")
            return
        if whole:
            self.state = CLIENT_WAIT
            self.keep_input(p + head_len + used, rest - used)
            if self.state == CLIENT_CLOSED:
                return
        else:
            # Until a server is connected nothing more is read; Exchange.connected resumes.
            self.stream_flags |= STREAM_PAUSED
            e.awaits = used == 0 and h.seen[FIELD_EXPECT]
            if self.front.pace_ms:
                pace_watch(self)
        start_exchange(e, self, p, head_len, used, whole == 1)

    cdef void refuse(self, const char* p, size_t n, int status, const char* term, const char* reason) noexcept:
        """Answers an error to a head that cannot be used and closes."""
        cdef Exchange e = exchange_new(self.core, self.front)
        e.start_us = self.start_us
        self.start_us = 0
        free(self.partial)
        self.partial = NULL
        self.close_after = True
        self.unread_body = True         # whatever follows cannot be told from it
        self.exchange = e
        self.state = CLIENT_WAIT
        refuse_exchange(e, self, p, n, status, term, reason)

    # --- request body

    cdef int take_body(self, const char* p, size_t n, size_t* used) noexcept:
        """How many of n bytes belong to the body: 1 = with its end, 0 = more to come, -1 = broken."""
        cdef int got
        if self.exchange.framing == FRAMING_LENGTH:
            if n >= self.body_left:
                used[0] = <size_t>self.body_left
                self.body_left = 0
                return 1
            used[0] = n
            self.body_left -= n
            return 0
        got = chunked_scan(&self.chunked, p, n, used)
        self.body_total = self.chunked.total
        if got == CHUNK_ERROR:
            return -1
        return 1 if got == CHUNK_END else 0

    cdef void body_bytes(self, const char* p, size_t n) noexcept:
        cdef Exchange e = self.exchange
        cdef ServerSide up = e.up
        cdef size_t used = 0
        cdef int whole, sent
        whole = self.take_body(p, n, &used)
        if whole < 0:
            self.close_after = True
            self.unread_body = True
            self.state = CLIENT_WAIT
            capture_request(self, p, n, used, <int64_t>e.bytes_in, True, 400, reason_text(self.chunked.reason))
            e.body_refused(400, reason_text(self.chunked.reason))
            return
        if self.front.max_body and self.body_total > self.front.max_body:
            self.close_after = True
            self.unread_body = True
            self.state = CLIENT_WAIT
            e.body_refused(413, b"request body longer than limits.body")
            return
        e.awaits = False
        if e.extras is not None and e.extras.observer is not None:
            e.extras.observer.request_body(p, used, whole == 1)
        e.keep_body(p, used)
        e.bytes_in += used
        if whole:
            self.state = CLIENT_WAIT
            clear_deadline(self)
            if n > used:
                self.keep_input(p + used, n - used)
            e.body_complete()
        elif self.front.client_ms:
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + self.front.client_ms)
        if up is None:
            return
        sent = up.send_body(e, p, used)
        if sent == SENT_PENDING:
            self.stream_flags |= STREAM_PAUSED
            clear_deadline(self)

    cdef void resume_body(self, Exchange e) noexcept:
        if self.state != CLIENT_BODY:
            return
        self.stream_flags &= ~STREAM_PAUSED
        if self.pace is not None:
            pace_watch(self)
        if self.front.client_ms and not e.awaits:
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + self.front.client_ms)
        if self.stream_flags & STREAM_READABLE:
            self.core.reactor.defer(self)

    cdef void wait_until(self, uint64_t deadline_ms) noexcept:
        if deadline_ms:
            set_deadline(self.core.reactor, self, deadline_ms)
        else:
            clear_deadline(self)

    # --- the answer

    cdef int respond(self, Exchange e, const ResponseHead* h, const char* buf, const char* body, size_t n,
                     bint end) noexcept:
        cdef Core core = self.core
        cdef ResponseInfo info
        cdef ssize_t head
        cdef int sent
        memset(&info, 0, sizeof(info))
        info.client_minor = e.minor
        info.upgrade = h.framing == FRAMING_TUNNEL
        if not info.upgrade:
            if (h.framing == FRAMING_EOF or core.parting or (e.minor == 0 and h.framing == FRAMING_CHUNKED)
                    or (end and self.state == CLIENT_BODY)):
                self.close_after = True
            info.dechunk = e.minor == 0 and h.framing == FRAMING_CHUNKED
            info.close = self.close_after
            info.keep_alive_10 = e.minor == 0 and not self.close_after
        head = write_response_head(core.obuf, HEAD_OUT, buf, h, e.action.response_plan, &info)
        if head < 0:
            return SENT_UNFIT
        if e.backend.affinity is not None:
            head = <ssize_t>stick_answer(e, h, buf, core.obuf, <size_t>head, HEAD_OUT)
        if e.extras is not None:
            head = dress_response(e.extras, h, buf, body, n, info.dechunk, core.obuf, <size_t>head, HEAD_OUT)
            if head < 0:
                return SENT_UNFIT
        if self.front.explain is not None:
            head = <ssize_t>core.reporter.explain(<PyObject*>e, core.obuf, <size_t>head)
        e.bytes_out += <uint64_t>head + n
        if end and (self.close_after or core.draining):
            self.stream_flags |= STREAM_LAST    # leave() follows
        if n and n <= COPY_BELOW and <size_t>head + n <= HEAD_OUT:
            memcpy(core.obuf + head, body, n)
            sent = self.transmit(core.obuf, <size_t>head + n, NULL, 0)
        else:
            sent = self.transmit(core.obuf, <size_t>head, body, n)
        return self._sent(sent)

    cdef int interim(self, Exchange e, const ResponseHead* h, const char* buf) noexcept:
        cdef ResponseInfo info
        cdef ssize_t head
        if e.minor == 0:
            return SENT_ALL             # RFC 9110 section 15.2: never to HTTP/1.0
        memset(&info, 0, sizeof(info))
        info.client_minor = e.minor
        head = write_response_head(self.core.obuf, HEAD_OUT, buf, h, e.action.response_plan, &info)
        if head < 0:
            return SENT_ALL             # one that does not fit after rewriting can be done without
        e.bytes_out += <uint64_t>head
        if e.awaits and h.status == 100:
            e.awaits = False
            self.resume_body(e)         # from now on it is the client that is waited for
        return self._sent(self.transmit(self.core.obuf, <size_t>head, NULL, 0))

    cdef int relay(self, Exchange e, const char* p, size_t n) noexcept:
        e.bytes_out += n
        if e.extras is not None and e.extras.observer is not None:
            e.extras.observer.answer_body(p, n)
        return self._sent(self.transmit(p, n, NULL, 0))

    cdef int _sent(self, int sent) noexcept:
        if sent == SENT_PENDING:
            if self.front.client_ms:
                set_deadline(self.core.reactor, self, self.core.reactor.now_ms + self.front.client_ms)
            if self.front.pace_ms and (self.pace is None or self.pace.deadline == 0):
                pace_watch(self)
        return sent

    cdef void answer(self, Exchange e, const char* p, size_t n, bint close) noexcept:
        if close:
            self.close_after = True
        if self.close_after or self.core.draining:
            self.stream_flags |= STREAM_LAST
        if self.transmit(p, n, NULL, 0) == SENT_ERROR:
            self.exchange = None
            self.shut(False)
            return
        self.response_done(e)

    cdef void response_done(self, Exchange e) noexcept:
        self.exchange = None
        if self.state == CLIENT_CLOSED:
            return
        if self.state == CLIENT_BODY:
            # The answer came before the end of the body: the rest of it is read away before closing.
            self.close_after = True
            self.unread_body = True
        if self.close_after or self.core.draining:
            self.state = CLIENT_FLUSH
            if self.out == NULL:
                self.leave()
            elif self.front.client_ms:
                set_deadline(self.core.reactor, self, self.core.reactor.now_ms + self.front.client_ms)
            return
        self.state = CLIENT_HEAD
        if self.out == NULL and self.front.idle_ms:
            set_deadline(self.core.reactor, self, self.core.reactor.now_ms + self.front.idle_ms)
        if self.working:
            return                      # next_request's loop goes on
        if self.inb != NULL:
            self.next_request()
        elif self.stream_flags & STREAM_READABLE:
            self.core.reactor.defer(self)

    cdef void break_off(self, Exchange e, bint reset) noexcept:
        self.exchange = None
        # A FIN after a body that only the end of the connection delimits would pass for its end.
        self.shut(reset)

    cdef void become_tunnel(self, Exchange e) noexcept:
        cdef Chunk* c = self.inb
        self.state = CLIENT_TUNNEL
        self.tunnel = e.up
        self.stream_flags &= ~STREAM_PAUSED
        clear_deadline(self)
        self.touch_tunnel(e)
        if c != NULL:
            # What the client sent behind its request without waiting for the answer.
            self.inb = NULL
            e.bytes_in += c.end - c.start
            if self.tunnel.transmit(c.data + c.start, c.end - c.start, NULL, 0) == SENT_PENDING:
                self.stream_flags |= STREAM_PAUSED
            chunk_free(c)
        if self.stream_flags & STREAM_READABLE:
            self.core.reactor.defer(self)

    cdef void drain_idle(self) noexcept:
        """The worker is leaving: an idle connection closes, a busy one after its answer."""
        if self.state == CLIENT_HEAD and self.inb == NULL and self.out == NULL:
            self.shut(False)
        else:
            self.close_after = True


cdef bint client_accept(Core core, ListenerBase listener, int fd, const sockaddr* peer) noexcept:
    cdef H1Client c = H1Client.__new__(H1Client)
    if FASTLB_DEBUG:
        live_counters()[LIVE_CLIENT] += 1
    if not c.take_over(core, listener, fd, peer):
        return False
    c.fresh = True
    c.read_more()
    return True
