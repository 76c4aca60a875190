"""One client talking to one server by datagrams.

A flow has a socket of its own towards its server, connected to it (see udp_socket): so the kernel tells apart whose
answer it is, takes nothing from anybody else, and hands over what ICMP says about the server. A server that cannot be
reached has failed; the flow moves to another one, and the datagram that came back with the error is sent again.

References: as of one that is registered, from `UdpPort.enter` until `end`; a descriptor has only its socket.
"""

cimport cython
from cpython.object cimport PyObject
from libc.string cimport memset
from fastlb._core.datagram cimport (
    ECONNREFUSED, EHOSTUNREACH, EINVAL, EIO, EMSGSIZE, ENETUNREACH, EOPNOTSUPP, FL_MAX_SEGMENTED, FL_MAX_SEGMENTS,
    fl_count, fl_data, fl_join_received, fl_receive, fl_receive_one, fl_send_pieces, fl_take_error, iovec)
from fastlb._core.debug cimport FASTLB_DEBUG, FL_ASSERT, LIVE_UPSTREAM, live_counters
from fastlb._core.net cimport (
    EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPOLLERR, EPOLLIN, SOL_SOCKET, SO_ERROR, getsockopt, socklen_t)
from fastlb._core.shared cimport SERVER_UP
from fastlb._core.atomics cimport fl_load32
from fastlb.balance.selector cimport USE_CANCELLED, USE_FAILED, USE_OK
from fastlb.engine.reactor cimport set_deadline
from fastlb.engine.stats cimport (
    COUNT_BYTES_IN, COUNT_BYTES_OUT, COUNT_CONNECT_ERRORS, COUNT_CURRENT, COUNT_DENIED, COUNT_OTHER,
    COUNT_PEAK, COUNT_REDISPATCHES, COUNT_REQUESTS, COUNT_RETRIES, COUNT_SELECTED, count_up)
from fastlb.engine.udp_port cimport FLOW_PACKET, QUOTES, QUOTE_SIZE, UdpIo
from fastlb.engine.udp_report cimport FlowStory, report_flow
from fastlb.engine.udp_table cimport flow_key

cdef enum:
    READS = 4                   # recvmmsg calls of a flow before others get their turn
    AT_ONCE = 16                # datagrams of one of them
    WIRE = 28                   # bytes of the headers of IPv4 and UDP, for ratios
    UNHEARD_MS = 1000           # an error that ICMP brings has come by then
    JOIN_FROM = 8               # datagrams at once, from which on the kernel is asked to join them


cdef UdpFlow flow_new(UdpPort port, const fl_dgram* d):
    cdef UdpFlow f = UdpFlow.__new__(UdpFlow)
    f.port = port
    f.fd = -1
    f.peer = d.peer
    flow_key(&f.key, d, True, port.wild)
    flow_key(&f.source, d, False, False)
    f.interface = d.interface if port.wild else 0
    port.io.serial += 1
    f.serial = port.io.serial
    memset(f.lengths, 0xff, sizeof(f.lengths))      # no datagram is as long
    f.start_us = port.core.reactor.now_us
    if FASTLB_DEBUG:
        live_counters()[LIVE_UPSTREAM] += 1
    return f


@cython.final
@cython.no_gc
cdef class UdpFlow(FlowBase):
    """One client talking to one server; see the module."""

    def __dealloc__(self):
        if FASTLB_DEBUG:
            live_counters()[LIVE_UPSTREAM] -= 1

    # --- the server

    cdef bint assign(self) noexcept:
        cdef Backend b = self.backend
        cdef int slot, error, _i
        for _i in range(FLOW_TRIED):
            slot = b.selector.select(self.hash_key, self.has_key, self.tried, self.ntried,
                                     self.port.core.reactor.now_ms)
            if slot < 0:
                return False
            error = self.use(slot)
            if error == 0:
                return True
            if error == EMFILE or error == ENFILE or error == ENOBUFS or error == ENOMEM:
                self.give_back(USE_CANCELLED)           # our own lack, and no better with another server
                return False
            self.server.counters[COUNT_CONNECT_ERRORS] += 1
            self.give_back(USE_FAILED)
            if self.ntried == FLOW_TRIED or self.attempts > b.retries:
                return False
            self.tried[self.ntried] = slot
            self.ntried += 1
        return False

    cdef int use(self, int slot) noexcept:
        """Goes to a server that was taken. 0 or errno."""
        cdef Backend b = self.backend
        self.holding = True
        self.slot = slot
        self.server = <Server>b.by_slot[slot]
        self.epoch = b.selector.servers.epoch()
        self.attempts += 1
        b.counters[COUNT_SELECTED] += 1
        self.server.counters[COUNT_SELECTED] += 1
        count_up(self.server.counters, COUNT_CURRENT, COUNT_PEAK)
        count_up(b.counters, COUNT_CURRENT, COUNT_PEAK)
        return self.open_socket()

    cdef bint join(self, UdpFlow kin) noexcept:
        """Takes the server that another flow of the same client has."""
        cdef Backend b = self.backend
        if kin.backend is not b or not kin.holding or not b.selector.take(kin.slot):
            return False
        if self.use(kin.slot) == 0:
            return True
        self.give_back(USE_CANCELLED)
        return False

    cdef int open_socket(self) noexcept:
        """Towards self.server, in place of the one there is. 0 or errno."""
        cdef UdpSocket found
        cdef int error = 0
        cdef PyObject* p = self.port.io.resting.get(self.server, self.port.udp.one_way, &error)
        if p == NULL:
            return error
        if self.sock is not None:
            self.sock.shut()
        found = <UdpSocket>p
        found.user = self
        found.backend = self.backend
        found.slot = self.slot
        self.sock = found
        self.asked_us = 0
        return 0

    cdef void give_back(self, int use) noexcept:
        cdef Backend b = self.backend
        cdef uint64_t latency = 0
        if not self.holding:
            return
        self.holding = False
        if use == USE_OK and self.asked_us and self.response_us > self.asked_us:
            latency = self.response_us - self.asked_us
        b.selector.release(self.slot, use, <uint32_t>latency, self.port.core.reactor.now_ms)
        b.counters[COUNT_CURRENT] -= 1
        self.server.counters[COUNT_CURRENT] -= 1

    cdef void look_around(self) noexcept:
        cdef UdpFrontend front = self.port.udp
        cdef Backend b = self.backend
        cdef Server before = self.server
        cdef int32_t slot = self.slot
        cdef int chosen
        if b is front.target:
            self.epoch = b.selector.servers.epoch()
            if fl_load32(&b.selector.servers.slots[slot].line.state) & SERVER_UP:
                return
            self.tried[0] = slot
            self.ntried = 1
        else:
            self.ntried = 0
        chosen = front.target.selector.select(self.hash_key, self.has_key, self.tried, self.ntried,
                                              self.port.core.reactor.now_ms)
        self.ntried = 0
        if chosen < 0:
            return                      # nobody better: it stays where it is
        self.give_back(USE_CANCELLED)
        self.backend = front.target
        self.attempts = 0
        if self.use(chosen) != 0:
            self.server.counters[COUNT_CONNECT_ERRORS] += 1
            self.give_back(USE_FAILED)
            self.tried[0] = chosen
            self.ntried = 1
            if not self.assign():
                self.end(b"SC", b"no server is available")
                return
        if self.server is not before:
            self.moves += 1
            self.server.counters[COUNT_REDISPATCHES] += 1
            self.backend.counters[COUNT_REDISPATCHES] += 1

    cdef void rebind(self, UdpFrontend front) noexcept:
        cdef int i
        cdef Backend b = front.target
        if not self.holding:
            return
        for i in range(b.count):
            if b.by_slot[i] == <PyObject*>self.server:
                # The same server, so the same shared line and counters: nothing to take or give back.
                self.backend = b
                self.slot = i
                self.epoch = 0
                return

    # --- towards the server

    cdef void send_run(self) noexcept:
        cdef UdpIo io = self.port.io
        cdef Backend b
        cdef fl_dgram* d
        cdef uint64_t now = self.port.core.reactor.now_us
        cdef uint64_t size = 0
        cdef uint64_t datagrams = 0
        cdef int i = self.run_first
        cdef int n = 0
        cdef int unsent, _turn
        self.run_batch = 0
        if self.ended:
            return
        b = self.backend
        if b is not self.port.udp.target or b.selector.servers.epoch() != self.epoch:
            self.look_around()
            if self.ended:
                return
            b = self.backend
        while i >= 0:
            d = &io.incoming.dgrams[i]
            io.pieces[n].iov_base = fl_data(io.incoming, i)
            io.pieces[n].iov_len = d.len
            io.segments[n] = d.segment
            size += d.len
            datagrams += fl_count(d)
            self.lengths[self.at] = <uint16_t>(d.segment if d.segment else d.len)
            self.at = (self.at + 1) % LENGTHS
            i = io.following[i]
            n += 1
        self.requests += datagrams
        self.bytes_in += size
        b.counters[COUNT_REQUESTS] += datagrams
        b.counters[COUNT_BYTES_IN] += size
        self.server.counters[COUNT_REQUESTS] += datagrams
        self.server.counters[COUNT_BYTES_IN] += size
        if self.asked_us == 0:
            self.asked_us = now
        set_deadline(self.port.core.reactor, self, self.port.core.reactor.now_ms + self.port.udp.idle_ms)
        unsent = 0
        for _turn in range(FLOW_TRIED):
            unsent = self.transmit(unsent, n)
            if unsent >= n:
                break
            # An error that came back for what was sent before: this send has only reported it.
            if not self.failed(0):
                return
        if self.port.udp.requests and self.requests >= self.port.udp.requests:
            self.port.unlist(self)
        if self.finished():
            self.answered = True
            self.end(b"--", NULL)

    cdef int transmit(self, int start, int n) noexcept:
        """Sends io.pieces[start:n]; the first one that was not sent because the server cannot be reached, else n."""
        cdef UdpIo io = self.port.io
        cdef size_t total, size
        cdef UdpSocket sock = self.sock
        cdef int i, error
        if sock is None:
            return n
        if n - start == 1 and (io.segments[start] == 0 or not sock.unjoined):
            error = fl_send_pieces(sock.fd, &io.pieces[start], 1, io.segments[start])
            if error == 0:
                return n
            if hard(error):
                return start
            if io.segments[start] and unsplittable(error):
                sock.unjoined = True
            elif error != EINTR:
                io.unsent += 1
                return n
            return self.one_by_one(start, n)
        if io.gso and not sock.unjoined and io.segments[start] == 0:
            size = total = io.pieces[start].iov_len
            i = start + 1
            while (i < n and size and io.segments[i] == 0 and io.pieces[i].iov_len and io.pieces[i].iov_len <= size
                   and io.pieces[i - 1].iov_len == size and i - start < FL_MAX_SEGMENTS
                   and total + io.pieces[i].iov_len <= FL_MAX_SEGMENTED):
                total += io.pieces[i].iov_len
                i += 1
            if i == n:
                error = fl_send_pieces(sock.fd, &io.pieces[start], <size_t>(n - start), <uint16_t>size)
                if error == 0:
                    io.joined += <uint64_t>(n - start - 1)
                    return n
                if hard(error):
                    return start
                if unsplittable(error):
                    sock.unjoined = True
        return self.one_by_one(start, n)

    cdef int one_by_one(self, int start, int n) noexcept:
        cdef UdpIo io = self.port.io
        cdef iovec piece
        cdef char* p
        cdef size_t left, size
        cdef int i, error
        for i in range(start, n):
            p = <char*>io.pieces[i].iov_base
            left = io.pieces[i].iov_len
            while True:
                size = io.segments[i] if io.segments[i] and io.segments[i] < left else left
                piece.iov_base = p
                piece.iov_len = size
                error = fl_send_pieces(self.sock.fd, &piece, 1, 0)
                if hard(error):
                    return i
                if error and error != EINTR:
                    io.unsent += 1      # too long for the way, no room in the kernel, a rule against it
                p += size
                left -= size
                if left == 0:
                    break
        return n

    cdef bint failed(self, int error) noexcept:
        cdef UdpIo io = self.port.io
        cdef Backend b = self.backend
        cdef iovec piece
        cdef int quotes, i
        if self.ended:
            return False
        quotes = self.take_errors()
        self.server.counters[COUNT_CONNECT_ERRORS] += 1
        b.counters[COUNT_CONNECT_ERRORS] += 1
        self.give_back(USE_FAILED)
        if self.attempts > b.retries or self.ntried == FLOW_TRIED:
            self.end(b"SC", b"server cannot be reached")
            return False
        self.tried[self.ntried] = self.slot
        self.ntried += 1
        if b is not self.port.udp.target:
            self.backend = b = self.port.udp.target
            self.ntried = 0
        if not self.assign():
            self.end(b"SC", b"server cannot be reached, and no other is available")
            return False
        self.moves += 1
        self.server.counters[COUNT_RETRIES] += 1
        b.counters[COUNT_RETRIES] += 1
        b.counters[COUNT_REDISPATCHES] += 1
        self.asked_us = self.port.core.reactor.now_us
        for i in range(quotes):
            piece.iov_base = io.quotes + i * QUOTE_SIZE
            piece.iov_len = io.quoted[i]
            if fl_send_pieces(self.sock.fd, &piece, 1, 0):
                io.unsent += 1
        return True

    cdef int take_errors(self) noexcept:
        """Empties the queue of errors; datagrams that came back whole are put into io.quotes. How many."""
        cdef UdpIo io = self.port.io
        cdef int n = 0
        cdef int _turn, i
        cdef size_t size
        cdef char* where
        for _turn in range(64):
            where = io.quotes + (n if n < QUOTES else QUOTES - 1) * QUOTE_SIZE
            if fl_take_error(self.sock.fd, where, QUOTE_SIZE, &size) == 0:
                break
            if n == QUOTES:
                continue
            # Hosts quote as much as they like: whole is what is as long as something that was sent lately.
            for i in range(LENGTHS):
                if self.lengths[i] == size:
                    io.quoted[n] = size
                    n += 1
                    break
        return n

    # --- from the server

    cdef void on_socket(self, uint32_t events) noexcept:
        cdef int error = 0
        cdef socklen_t n = sizeof(error)
        if events & EPOLLERR:
            # Answers first: they came before the error, or in spite of it.
            self.receive()
            if self.ended or self.sock is None:
                return
            getsockopt(self.sock.fd, SOL_SOCKET, SO_ERROR, &error, &n)
            if error and not hard(error):
                self.take_errors()
                return
            if error:
                self.failed(error)
            return
        if events & EPOLLIN:
            self.receive()

    cdef void receive(self) noexcept:
        cdef UdpPort port = self.port
        cdef UdpIo io = port.io
        cdef UdpFrontend front = port.udp
        cdef UdpSocket sock = self.sock
        cdef fl_dgram* d
        cdef uint64_t size = 0
        cdef uint64_t datagrams = 0
        cdef int room, likely, n = 0, i, first, _turn
        cdef bint finished
        if self.ended or sock is None:
            return
        for _turn in range(READS):
            # The descriptor is level-triggered: what is left comes back. So one cheap call will do for a flow that gets
            # one answer at a time, and the call for many asks for as many as are likely to be there.
            room = io.room()
            likely = AT_ONCE
            if self.responses + datagrams < self.requests < self.responses + datagrams + AT_ONCE:
                likely = <int>(self.requests - self.responses - datagrams)
            if room > likely:
                room = likely
            first = io.queued
            if room == 1 and not sock.joins:
                n = fl_receive_one(io.outgoing, sock.fd, first)
            else:
                n = fl_receive(io.outgoing, sock.fd, first, room, True)
            if n <= 0:
                break
            for i in range(first, first + n):
                d = &io.outgoing.dgrams[i]
                if d.cut or (front.amplification and self.amplifies(front, d, size, datagrams)):
                    port.front.counters[COUNT_DENIED] += 1
                    continue
                size += d.len
                datagrams += fl_count(d)
                d.peer = self.peer
                io.queue(port, self, i)
            if n < AT_ONCE:
                break
        if datagrams:
            if self.responses == 0:
                self.response_us = port.core.reactor.now_us
            self.responses += datagrams
            self.bytes_out += size
            self.attempts = 1
            self.ntried = 0
            self.touched = True
            self.count_answers(port.front.counters, datagrams, size)
            self.count_answers(self.backend.counters, datagrams, size)
            self.count_answers(self.server.counters, datagrams, size)
            if not sock.joins and io.gro and datagrams >= JOIN_FROM:
                sock.joins = True
                fl_join_received(sock.fd)
            finished = self.finished()
            # Exactly: a server that says more than it was thought to may go on.
            self.answered = finished and self.responses == <uint64_t>front.responses * self.requests
            if finished or (self.leaving and self.responses >= self.requests):
                self.end(b"--", NULL)
                return
            if not self.leaving:
                set_deadline(port.core.reactor, self, port.core.reactor.now_ms + front.idle_ms)
        if n < 0 and hard(-n):
            self.failed(-n)

    cdef inline void count_answers(self, uint64_t* counters, uint64_t datagrams, uint64_t size) noexcept:
        counters[COUNT_OTHER] += datagrams
        counters[COUNT_BYTES_OUT] += size

    cdef bint amplifies(self, UdpFrontend front, const fl_dgram* d, uint64_t size, uint64_t datagrams) noexcept:
        """Whether this answer would bring the client more than it may get for what it sent."""
        cdef uint64_t given = self.bytes_out + size + d.len + WIRE * (self.responses + datagrams + fl_count(d))
        return given > front.amplification * (self.bytes_in + WIRE * self.requests)

    # --- the end

    cdef bint finished(self) noexcept:
        """As nginx has it: the client has sent all it may, and each of its datagrams was answered as often as told."""
        cdef UdpFrontend front = self.port.udp
        if front.responses < 0:
            return False
        if front.flow != FLOW_PACKET and front.requests and self.requests < front.requests:
            return False
        return self.responses >= <uint64_t>front.responses * self.requests

    cdef void on_timer(self) noexcept:
        if self.responses == 0 and self.port.udp.responses > 0:
            self.end(b"sD", b"server did not answer")
        else:
            self.end(b"--", NULL)

    cdef void leave(self, uint32_t within_ms) noexcept:
        cdef uint64_t now = self.port.core.reactor.now_ms
        self.leaving = True
        if self.responses >= self.requests or within_ms == 0:
            self.end(b"--", NULL)
        elif self.deadline == 0 or self.deadline > now + within_ms:
            self.port.core.reactor.arm(self, now + within_ms)

    cdef void abandon(self) noexcept:
        """It never began."""
        self.ended = True
        self.port.core.reactor.remove(self)
        if self.sock is not None:
            self.sock.shut()
            self.sock = None

    cdef void tell(self, const char* term, const char* reason) noexcept:
        cdef FlowStory story
        cdef fl_dgram client
        memset(&client, 0, sizeof(client))
        client.peer = self.peer
        story.start_us = self.start_us
        story.asked_us = self.asked_us
        story.response_us = self.response_us
        story.requests = self.requests
        story.responses = self.responses
        story.bytes_in = self.bytes_in
        story.bytes_out = self.bytes_out
        story.moves = self.moves
        report_flow(self.port, &client, self.backend, self.server, &story, term, reason)

    cdef void end(self, const char* term, const char* reason) noexcept:
        cdef UdpSocket sock
        cdef bint well
        FL_ASSERT(not self.ended, b"a flow ends once")
        if self.ended:
            return
        self.ended = True
        self.tell(term, reason)
        sock = self.sock
        # Where no answer is awaited a server is well when its socket has heard of no error for a while.
        well = self.responses > 0 or (self.port.udp.responses == 0 and sock is not None
                                      and self.port.core.reactor.now_ms - sock.opened_ms >= UNHEARD_MS)
        self.give_back(USE_OK if well else USE_CANCELLED)
        self.port.core.reactor.remove(self)
        self.sock = None
        if sock is not None:
            if self.answered and not self.leaving and self.port.accepting:
                self.port.io.resting.put(sock)
            else:
                sock.shut()
        self.port.forget(self)


cdef inline bint hard(int error) noexcept:
    """The server, or the way to it, is not there."""
    return error == ECONNREFUSED or error == EHOSTUNREACH or error == ENETUNREACH


cdef inline bint unsplittable(int error) noexcept:
    return error == EINVAL or error == EMSGSIZE or error == EIO or error == EOPNOTSUPP
