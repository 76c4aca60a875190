"""One request and its response.

Life: admission.pyx routes; `assign` picks a server (or queues); `attach` puts the exchange on a connection of it; the
server side reports `connected`, `response_head`, `response_complete` or `attempt_failed`; `end` logs, counts, lets go.
Every exchange ends exactly once, with one outcome: a status and HAProxy's termination flags.

References: the exchange owns itself until `end`, which hands that reference to the reactor to drop after the batch, so
no method ever runs on a freed exchange. Both connections point at it and are cut loose before.
"""

cimport cython
from cpython.object cimport PyObject
from libc.string cimport memcpy, memset
from fastlb._core.debug cimport FASTLB_DEBUG, FL_ASSERT, LIVE_EXCHANGE, live_counters
from fastlb._core.net cimport sockaddr, sockaddr_storage
from fastlb._core.xxh3 cimport xxh3_64
from fastlb.balance.selector cimport PICK_FULL, USE_CANCELLED, USE_FAILED, USE_OK
from fastlb.engine.buffer cimport chunk_free
from fastlb.engine.core cimport HEAD_OUT
from fastlb.engine.extras cimport dress_answer
from fastlb.engine.failure cimport (
    AGAIN_ALWAYS, AGAIN_IDEMPOTENT, FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_RESOURCES, FAIL_STALE, FAIL_STATUS,
    Verdict, failure_verdict, phase_of)
from fastlb.engine.proxy_protocol cimport PROXY_UNIQUE_ID, ProxyFacts, proxy_write
from fastlb.engine.server cimport overdue, pool_take
from fastlb.engine.stats cimport (
    COUNT_CONNECT_ERRORS, COUNT_CURRENT, COUNT_PEAK, COUNT_QUEUED, COUNT_QUEUE_PEAK, COUNT_REUSED, COUNT_SELECTED,
    count_up)
from fastlb.http.canned cimport canned_head, write_canned
from fastlb.http.identity cimport make_request_id
from fastlb.http.request_head cimport METHOD_HEAD, method_idempotent, parse_request_head, request_head_reset


# Abstract: the codecs fill these in.
cdef class ClientSide(Stream):
    """The connection a request came in on."""

    cdef int respond(self, Exchange e, const ResponseHead* h, const char* buf, const char* body, size_t n,
                     bint end) noexcept: return -1
    cdef int interim(self, Exchange e, const ResponseHead* h, const char* buf) noexcept: return -1
    cdef int relay(self, Exchange e, const char* p, size_t n) noexcept: return -1
    cdef void answer(self, Exchange e, const char* p, size_t n, bint close) noexcept: pass
    cdef void response_done(self, Exchange e) noexcept: pass
    cdef void gone(self) noexcept: pass
    cdef void break_off(self, Exchange e, bint reset) noexcept: pass
    cdef void resume_body(self, Exchange e) noexcept: pass
    cdef void become_tunnel(self, Exchange e) noexcept: pass
    cdef void wait_until(self, uint64_t deadline_ms) noexcept: pass
    cdef void relay_back(self, Exchange e) noexcept: pass
    cdef const sockaddr* peer(self) noexcept: return NULL
    cdef uint16_t peer_port(self) noexcept: return 0
    cdef uint16_t local_port(self) noexcept: return 0
    cdef void local_address(self, sockaddr_storage* out) noexcept: pass
    cdef bint https(self) noexcept: return False


cdef class ServerSide(ServerConnection):
    """The connection a request goes out on."""

    cdef void begin(self, Exchange e) noexcept: pass
    cdef int send_body(self, Exchange e, const char* p, size_t n) noexcept: return -1
    cdef void resume(self) noexcept: pass
    cdef void cancel(self) noexcept: pass
    cdef bint alive(self) noexcept: return False


@cython.no_gc
cdef class Exchange(Waiter):
    """One request and its response; see the module."""

    def __dealloc__(self):
        if FASTLB_DEBUG:
            live_counters()[LIVE_EXCHANGE] -= 1
        chunk_free(self.saved)

    cdef bint leaving(self) noexcept:
        """The connection takes no further request, whatever the client wants."""
        return self.core.parting or (self.client is not None and self.client.retiring)

    cdef void answer(self, size_t n, bint close) noexcept:
        cdef ClientSide c = self.client
        cdef Core core = self.core
        self.response_started = True
        if self.extras is not None and self.extras.response != NULL:
            n = dress_answer(self.extras.response, core.obuf, n, HEAD_OUT)
        if self.front.explain is not None:
            n = core.reporter.explain(<PyObject*>self, core.obuf, n)
        self.bytes_out = n
        self.client = None
        self.end()
        if c is not None:
            c.answer(self, core.obuf, n, close)

    cdef Extras extra(self):
        if self.extras is None:
            self.extras = Extras.__new__(Extras)
        return self.extras

    # --- picking a server

    cdef void assign(self) noexcept:
        cdef Backend b = self.backend
        cdef int slot
        if self.assigned_us == 0 and not self.queueing:
            b.counters[COUNT_SELECTED] += 1
        if b.queue.count and self.ntried == 0 and b.queue.ahead(self.priority):
            self.queue_up()             # nobody overtakes who waits
            return
        slot = b.selector.select(self.key, self.has_key, self.tried, self.ntried, self.core.reactor.now_ms)
        if slot >= 0:
            self.attach(slot)
            return
        if slot == PICK_FULL:
            self.queue_up()
            return
        if b.guard is not None:
            self.retry_after = b.guard.retry_after(self.core.reactor.now_ms)
        if self.ntried and self.reason != NULL:
            # Every usable server was tried: the last failure is the answer.
            self.fail(self.status if self.status else 503, self.term, self.reason)
        else:
            self.fail(503, b"SC", b"no server is available")

    cdef void attach(self, int slot) noexcept:
        cdef Backend b = self.backend
        cdef Server s = <Server>b.by_slot[slot]
        cdef PyObject* p
        cdef ServerSide up
        cdef uint64_t announced = 0
        cdef uint64_t now = self.core.reactor.now_us
        self.holding = True
        self.slot = slot
        self.server = s
        self.attempts += 1
        self.attempt_us = now
        if self.assigned_us == 0:
            self.assigned_us = now
        if b.guard is not None:
            self.permit = b.selector.permit
            b.selector.permit = 0
        if b.hedge is not None and self.attempts == 1:
            self.hedge_later()
        s.counters[COUNT_SELECTED] += 1
        count_up(s.counters, COUNT_CURRENT, COUNT_PEAK)
        if s.options != NULL:
            self.core.client_address = self.client.peer()
        if s.proxy:
            announced = self.announce(s)
        p = NULL
        # After a kept-alive connection broke, only a new one tells whether the server is there.
        if self.attempts == 1 or self.other is not None:
            p = pool_take(s, announced)
            # One with an event still to come in this batch is closed, or has bytes that nobody asked for. What could
            # not be sent a second time takes no connection that its server has closed already.
            while p != NULL and ((<ServerSide>p).ready or (not (self.request_done and method_idempotent(self.method))
                                                           and (not (<ServerSide>p).alive()
                                                                or overdue(s, <ServerSide>p, now // 1000)))):
                (<ServerSide>p).cancel()
                p = pool_take(s, announced)
        self.reused = p != NULL
        if p != NULL:
            up = <ServerSide>p
            self.connected_us = now
            s.counters[COUNT_REUSED] += 1
        else:
            self.connected_us = 0
            up = <ServerSide>b.connector.open(self.core, s, self.client, b.connect_ms)
            if up is None:
                self.attempt_failed(FAIL_CONNECT if b.connector.failure else FAIL_RESOURCES)
                return
            up.announced = announced
        self.up = up
        if not self.load_head():
            self.up = None
            up.cancel()
            self.fail(500, b"IR", b"saved request does not parse")
            return
        up.begin(self)

    cdef uint64_t announce(self, Server s) noexcept:
        """Makes the PROXY header that tells the server who the client is; the hash of what it says of it."""
        cdef Core core = self.core
        cdef ProxyFacts facts
        cdef sockaddr_storage here
        cdef size_t n
        cdef uint64_t h
        memset(&facts, 0, sizeof(facts))
        memset(&here, 0, sizeof(here))
        self.client.local_address(&here)
        n = proxy_write(core.preface, s.proxy, self.client.peer(), <const sockaddr*>&here, &facts)
        h = xxh3_64(core.preface, n) | 1
        core.preface_len = n
        if s.proxy == 2 and s.proxy_tlvs:
            facts.wanted = s.proxy_tlvs
            facts.ssl = self.https
            facts.unique_id = self.request_id
            facts.unique_id_len = 32
            if self.saved != NULL and self.front.tcp:
                facts.authority, facts.authority_len = self.saved.data + self.host.off, self.host.len
                facts.alpn, facts.alpn_len = self.saved.data + self.alpn.off, self.alpn.len
            if self.front.tcp and s.proxy_tlvs & PROXY_UNIQUE_ID and self.attempts == 1:
                make_request_id(self.request_id)
            core.preface_len = proxy_write(core.preface, 2, self.client.peer(), <const sockaddr*>&here, &facts)
        return h

    cdef bint load_head(self) noexcept:
        """Makes core.request describe this exchange's head again; it may have been overwritten since."""
        cdef Core core = self.core
        if self.front.tcp or core.request_base == self.saved.data:
            return True             # layer 4 has none
        request_head_reset(core.request)
        if parse_request_head(core.request, self.saved.data, self.head_len, &self.front.limits) <= 0:
            core.request_base = NULL
            return False
        core.request_base = self.saved.data
        return True

    # --- waiting for a server

    cdef void queue_up(self) noexcept:
        cdef Backend b = self.backend
        cdef ClientSide c = self.client
        cdef PyObject* lower
        if self.queueing:
            return
        if not b.queue.enter(self, self.core.reactor.now_ms):
            lower = b.queue.lowest(self.priority)
            if lower != NULL:
                (<Exchange>lower).fail(503, b"SQ", b"queue is full, and others go first")
            if lower == NULL or not b.queue.enter(self, self.core.reactor.now_ms):
                self.fail(503, b"SQ", b"queue is full")
                return
        self.queueing = True
        self.queue_ahead = b.queue.count - 1
        if b not in self.core.waiting:
            self.core.waiting.append(b)
        count_up(b.counters, COUNT_QUEUED, COUNT_QUEUE_PEAK)
        self.core.defer_queues()
        if c is not None and b.queue_ms:
            c.wait_until(self.core.reactor.now_ms + b.queue_ms)

    cdef void leave_queue(self) noexcept:
        cdef Backend b = self.backend
        if not self.queueing:
            return
        self.queueing = False
        b.queue.remove(self)
        b.counters[COUNT_QUEUED] -= 1
        if self.client is not None:
            self.client.wait_until(0)

    # --- what the server side reports

    cdef void connected(self) noexcept:
        cdef ClientSide c = self.client
        self.connected_us = self.core.reactor.now_us
        if self.body_len:
            self.trim()
        if c is not None and not self.request_done:
            c.resume_body(self)

    cdef void response_head(self, const ResponseHead* h) noexcept:
        if self.other is not None:
            self.drop_other()
        self._stop_waiting()
        self.response_us = self.core.reactor.now_us
        if self.connected_us == 0:
            self.connected_us = self.response_us
        self.status = h.status
        self.reason = NULL
        memcpy(self.term, b"--", 2)
        self.response_started = True
        if h.status == 101 and self.backend.guard is not None:
            # The tunnel may last for hours: no trial waits for its end.
            self.judge(USE_OK, <uint32_t>(self.response_us - self.attempt_us))
            if self.entry:
                self.backend.guard.settle(&self.entry, False, <uint32_t>(self.response_us - self.head_us),
                                          self.core.reactor.now_ms)

    cdef void response_complete(self) noexcept:
        cdef ClientSide c = self.client
        self.up = None
        self.client = None
        self.give_back(USE_OK)
        self.end()
        if c is not None:
            c.response_done(self)

    cdef void attempt_failed(self, int failure) noexcept:
        """The attempt at hand is over; its connection is gone already. Tries elsewhere when nothing was lost."""
        cdef Backend b = self.backend
        cdef Verdict v = failure_verdict(failure, self.response_started)
        cdef Attempt other = self.other
        self.up = None
        self.other = None
        if failure == FAIL_CONNECT or failure == FAIL_CONNECT_TIMEOUT:
            b.counters[COUNT_CONNECT_ERRORS] += 1
            self.server.counters[COUNT_CONNECT_ERRORS] += 1
        # A status that is tried again is a failure of its server where it says so itself, and not the request's (429).
        self.give_back(USE_FAILED if v.blame or (failure == FAIL_STATUS and self.status >= 500)
                       else USE_OK if failure == FAIL_STATUS else USE_CANCELLED)
        if other is not None:
            # The copy that is left goes on alone.
            if self.ntried < MAX_TRIED:
                self.tried[self.ntried] = self.slot
                self.ntried += 1
            self.carry_on(other)
            return
        if self.response_started:
            self.cut(v.term, v.reason if self.reason == NULL else self.reason)
            return
        if self.client is None:
            self.end()
            return
        if (self.attempts <= b.retries and b.retry.covers(failure) and (not self.pinned or failure == FAIL_STALE)
                and (v.again == AGAIN_ALWAYS or (v.again == AGAIN_IDEMPOTENT and self._repeatable() and (
                    failure == FAIL_STALE or b.retry.reserve(&self.retrying, b.queue.count))))):
            self.try_elsewhere(failure, self.status if failure == FAIL_STATUS else v.status, v.term, v.reason)
            return
        self.fail(v.status, v.term, v.reason)

    # --- what is tried again, and what may be: retried_exchange.pyx

    cdef bint retries_status(self, const ResponseHead* h, const char* buf) noexcept: return False
    cdef void try_elsewhere(self, int failure, int status, const char* term, const char* reason) noexcept: pass
    cdef void keep_body(self, const char* p, size_t n) noexcept: pass
    cdef void trim(self) noexcept: pass
    cdef bint _repeatable(self) noexcept: return False

    # --- two copies at a time: paired_exchange.pyx

    cdef void hedge_later(self) noexcept: pass
    cdef void hedge(self) noexcept: pass
    cdef void turn_to(self, ServerSide up) noexcept: pass
    cdef void carry_on(self, Attempt a) noexcept: pass
    cdef void drop_other(self) noexcept: pass

    cdef void _stop_waiting(self) noexcept:
        if self.hedge_due:
            self.hedge_due = False
            if self.client is not None:
                self.client.wait_until(0)

    # --- what the client side reports

    cdef void body_complete(self) noexcept:
        self.request_done = True

    cdef void client_gone(self) noexcept:
        """The client has left: the server side is cancelled at once."""
        cdef ServerSide up = self.up
        self.client = None
        if self.ended:
            return
        self.term[0] = c'C'
        self.term[1] = phase_of(self.queueing, self.response_started, self.connected_us != 0, self.request_done)
        self.leave_queue()
        if self.parked is not None:
            self.term[1] = c'R'
            self.parked.left(<PyObject*>self)
            self.parked = None
        self.reason = b"client closed the connection"
        self.up = None
        if up is not None:
            up.cancel()
        self.give_back(USE_CANCELLED)
        self.end()

    cdef void client_timed_out(self) noexcept:
        """The client does not send its body, or does not read the response; or the wait in the queue was too long."""
        if self.parked is not None:
            self.parked.due(<PyObject*>self)
            return
        if self.queueing:
            self.leave_queue()
            self.fail(503, b"sQ", b"no server became free in time")
            return
        if self.pausing:
            self.pausing = False
            self.assign()
            return
        if self.hedge_due:
            self.hedge_due = False
            self.hedge()
            return
        if self.response_started:
            self.abandon(b"cD", b"client stopped reading")
        else:
            self.body_refused(408, b"client stopped sending the request body")

    cdef void abandon(self, const char* term, const char* reason) noexcept:
        cdef ServerSide up = self.up
        self.leave_queue()
        if self.parked is not None:
            self.parked.left(<PyObject*>self)
            self.parked = None
        self.up = None
        if up is not None:
            up.cancel()
        self.give_back(USE_CANCELLED)
        self.cut(term, reason)

    cdef void body_refused(self, int status, const char* reason) noexcept:
        """The body breaks the protocol or a limit."""
        cdef ServerSide up = self.up
        self.up = None
        if up is not None:
            up.cancel()
        self.give_back(USE_CANCELLED)
        if self.queueing:
            self.leave_queue()
        if self.response_started:
            self.cut(b"cD" if status == 408 else b"PD", reason)
            return
        self.fail(status, b"cD" if status == 408 else b"PR", reason)

    cdef void cut(self, const char* term, const char* reason) noexcept:
        """Ends in the middle of an answer, which must not pass for complete."""
        cdef ClientSide c = self.client
        memcpy(self.term, term, 2)
        self.reason = reason
        self.client = None
        self.end()
        if c is not None:
            c.break_off(self, True)

    cdef void tunnel_over(self, bint broken) noexcept:
        """Both sides have ended, one broke, or nothing moved for too long."""
        cdef ServerSide up = self.up
        cdef ClientSide c = self.client
        self.client = None
        self.up = None
        if broken and self.term[0] == c'-':
            self.term[0] = c'S'
            self.term[1] = c'D'
        if up is not None:
            up.cancel()
        self.give_back(USE_OK)
        self.end()
        if c is not None:
            c.break_off(self, broken)

    # --- the end

    cdef void fail(self, int status, const char* term, const char* reason) noexcept:
        """Answers an error page made here."""
        cdef Core core = self.core
        cdef size_t n = 0
        cdef bint close = not self.keep_alive or not self.request_done or self.leaving() or status == 400
        cdef uint32_t retry_after = self.retry_after if self.retry_after or status != 503 else 1
        if self.queueing:
            self.leave_queue()
        self._stop_waiting()
        self.give_back(USE_CANCELLED)
        self.status = <uint16_t>status
        memcpy(self.term, term, 2)
        self.reason = reason
        if not self.front.tcp:
            n = write_canned(core.obuf, HEAD_OUT, status, self.wants_json, reason, close, retry_after)
        if self.method == METHOD_HEAD:
            n = canned_head(core.obuf, n)
        self.answer(n, close)

    cdef void give_back(self, int use) noexcept:
        """Releases the server that was taken, with what the use of it said about it."""
        cdef uint64_t latency = 0
        cdef Backend b = self.backend
        if self.other is not None:
            self.drop_other()
        if not self.holding:
            return
        self.holding = False
        if use == USE_OK and self.response_us > self.attempt_us:
            latency = self.response_us - self.attempt_us
        if use == USE_OK and (self.status == 502 or self.status == 503 or self.status == 504):
            use = USE_FAILED
        self.server_conns = <uint32_t>self.server.counters[COUNT_CURRENT]
        b.selector.release(self.slot, use, <uint32_t>latency, self.core.reactor.now_ms)
        self.server.counters[COUNT_CURRENT] -= 1
        if b.guard is not None:
            self.judge(use, <uint32_t>latency)
        if b.queue.count:
            self.core.defer_queues()

    cdef void judge(self, int use, uint32_t latency_us) noexcept:
        cdef Backend b = self.backend
        cdef uint64_t now = self.core.reactor.now_ms
        cdef uint32_t permit = self.permit
        self.permit = 0
        if b.guard.servers is None or self.judged:
            return
        self.judged = self.status == 101
        if use == USE_CANCELLED:
            b.guard.servers.returned(self.slot, permit)
        else:
            b.guard.servers.ended(self.slot, permit, use == USE_FAILED or self.status >= 500, latency_us, now)

    cdef void end(self) noexcept:
        """Logs, counts and lets go. The method that calls it may go on using its own locals, nothing else."""
        FL_ASSERT(not self.ended, b"exchange ends once")
        if self.ended:
            return
        self.ended = True
        FL_ASSERT(not self.holding, b"server given back before the end")
        self.core.reporter.report(<PyObject*>self)
        if self.extras is not None and self.extras.observer is not None:
            self.extras.observer.over(<PyObject*>self)
        if self.holds:
            self.core.holds.settle(self.holds, self.bytes_in + self.bytes_out, self.core.reactor.now_us * 1000)
        if self.retrying:
            self.backend.retry.release()
        if self.entry:
            self.backend.guard.leave(self.entry, self.term[0] != c'C' and self.term[0] != c'c', self.status >= 500,
                                     <uint32_t>(self.response_us - self.head_us) if self.response_us else 0,
                                     self.core.reactor.now_ms)
        self.front.counters[COUNT_CURRENT] -= 1
        if self.backend is not None:
            self.backend.counters[COUNT_CURRENT] -= 1
        self.core.reactor.retire(<PyObject*>self)
