"""Receives the datagrams of clients and hands them to their flows.

Up to 64 datagrams come with one call. Those of one flow are collected, so that they leave with one call too, joined
where the kernel can split them again. The descriptor is level-triggered: what one turn leaves comes back with the next
batch.

What a sender can cause is bounded: a flow each address, up to the limit of flows, then the oldest idle one makes room
or the datagram is dropped; nothing is sent but to the server, and to the client what the server said.
"""

from libc.stdint cimport uint32_t, uint64_t
from cpython.object cimport PyObject
from libc.string cimport memset
from fastlb._core.datagram cimport FL_SLOTS, fl_ask_local, fl_count, fl_dgram, fl_join_received, fl_receive
from fastlb._core.debug cimport FASTLB_DEBUG, LIVE_LISTENER, live_counters
from fastlb._core.net cimport (
    AF_INET, AF_INET6, EPOLLIN, EPOLL_CTL_DEL, close, epoll_ctl, errno, getsockname, sockaddr, sockaddr_in,
    sockaddr_in6, sockaddr_storage, socklen_t)
from fastlb.engine.core cimport Core
from fastlb.engine.reactor cimport set_deadline
from fastlb.engine.stats cimport (
    COUNT_BAD_REQUESTS, COUNT_BYTES_IN, COUNT_CONNECTIONS, COUNT_DENIED, COUNT_REQUESTS)
from fastlb.engine.udp_flow cimport flow_new
from fastlb.engine.udp_port cimport FLOW_PACKET, FLOW_SOURCE, UdpFrontend, UdpIo
from fastlb.engine.udp_report cimport FlowStory, report_flow
from fastlb.engine.udp_socket cimport RestingSockets
from fastlb.engine.udp_table cimport FlowKey, FlowTable, flow_key
from fastlb.engine.upstream cimport Backend, Frontend

import logging

cdef enum:
    READS = 4                   # a turn
    REPORT_MS = 10000           # between two reports of dropped datagrams

_log = logging.getLogger("fastlb.engine")


cdef class UdpListener(UdpPort):
    """One UDP socket of one frontend."""

    def __init__(self, UdpIo io not None, UdpFrontend front not None, int fd, int port):
        """Takes over `fd`, a bound UDP socket in non-blocking mode."""
        cdef sockaddr_storage where
        cdef socklen_t n = sizeof(where)
        cdef sockaddr_in6* v6 = <sockaddr_in6*>&where
        cdef int i
        cdef bint zero
        self.core = io.core
        self.io = io
        self.front = front
        self.udp = front
        self.fd = fd
        self.port = port
        self.flows = FlowTable()
        self.sources = FlowTable()
        memset(&where, 0, sizeof(where))
        if getsockname(fd, <sockaddr*>&where, &n) < 0:
            raise OSError(errno, "getsockname")
        if where.ss_family == AF_INET:
            zero = (<sockaddr_in*>&where).sin_addr.s_addr == 0
        else:
            zero = True
            for i in range(16):
                if v6.sin6_addr.s6_addr[i]:
                    zero = False
        if zero:
            self.wild = True
            if fl_ask_local(fd, where.ss_family) < 0:
                raise OSError(errno, "IP_PKTINFO")
        if io.gro:
            fl_join_received(fd)
        if self.core.reactor.add(self, EPOLLIN) < 0:
            raise OSError(errno, "epoll_ctl")
        self.accepting = True
        io.ports.append(self)
        if FASTLB_DEBUG:
            live_counters()[LIVE_LISTENER] += 1

    def replace(self, Frontend front not None, tls=None):
        """New snapshot: flows go on with the servers that are in it too, and move from the others when they speak."""
        cdef PyObject* p = self.oldest
        cdef UdpFlow flow
        if not isinstance(front, UdpFrontend):
            return                      # its name went to a frontend of another mode: this listener is about to leave
        self.front = front
        self.udp = <UdpFrontend>front
        while p != NULL:
            flow = <UdpFlow>p
            p = flow.newer
            flow.rebind(self.udp)

    def close(self):
        """Stops for good."""
        self.stop()

    cdef void on_events(self, uint32_t events) noexcept:
        cdef int _turn
        for _turn in range(READS):
            if not self.receive_some():
                return

    cdef bint receive_some(self) noexcept:
        """One batch; whether there may be more."""
        cdef UdpIo io = self.io
        cdef UdpFlow flow
        cdef uint64_t* counters = self.front.counters
        cdef uint64_t size = 0
        cdef uint64_t datagrams = 0
        cdef int i, n, runs = 0
        n = fl_receive(io.incoming, self.fd, 0, FL_SLOTS, False)
        if n <= 0:
            return False
        io.batch += 1
        for i in range(n):
            size += io.incoming.dgrams[i].len
            datagrams += fl_count(&io.incoming.dgrams[i])
            flow = self.flow_of(i)
            if flow is None:
                continue
            io.following[i] = -1
            if flow.run_batch == io.batch:
                io.following[flow.run_last] = i
            else:
                flow.run_batch = io.batch
                flow.run_first = i
                io.runs[runs] = <PyObject*>flow     # alive until the end of the reactor's batch, ended or not
                runs += 1
            flow.run_last = i
        counters[COUNT_REQUESTS] += datagrams
        counters[COUNT_BYTES_IN] += size
        for i in range(runs):
            (<UdpFlow>io.runs[i]).send_run()
        return n == FL_SLOTS

    cdef UdpFlow flow_of(self, int i):
        """The flow that datagram i belongs to, begun if need be; None = it is dropped."""
        cdef FlowKey key
        cdef FlowKey* found
        cdef UdpFlow flow
        cdef const fl_dgram* d = &self.io.incoming.dgrams[i]
        if d.cut or d.peer.v4.sin_port == 0 or (d.peer.head.sa_family != AF_INET and d.peer.head.sa_family != AF_INET6):
            self.drop(i, COUNT_BAD_REQUESTS)        # nothing could be answered
            return None
        if self.udp.flow == FLOW_PACKET:
            return self.begin(i)
        flow_key(&key, d, True, self.wild)
        self.flows.hash_key(&key)
        found = self.flows.find(&key)
        if found == NULL:
            return self.begin(i)
        flow = <UdpFlow>found.owner
        flow.touched = True
        return flow

    cdef UdpFlow begin(self, int i):
        cdef UdpFrontend front = self.udp
        cdef Backend b = front.target
        cdef Core core = self.core
        cdef const fl_dgram* d = &self.io.incoming.dgrams[i]
        cdef UdpFlow flow, kin
        cdef RestingSockets resting
        cdef FlowKey key
        cdef FlowStory story
        if not self.accepting or b is None:
            self.drop(i, COUNT_DENIED)
            return None
        if front.shunned.count:
            # A forged datagram that seems to come from a server would have two servers talk to each other for ever.
            flow_key(&key, d, True, False)
            front.shunned.hash_key(&key)
            if front.shunned.find(&key) != NULL:
                self.drop(i, COUNT_BAD_REQUESTS)
                return None
        if self.count >= front.max_flows or core.clients >= core.max_clients:
            if not front.evict or not self.make_room():
                self.refused += 1
                self.drop(i, COUNT_DENIED)
                return None
        resting = self.io.resting
        if self.count + resting.count >= front.max_flows or core.clients + resting.count >= core.max_clients:
            resting.drop_oldest()       # what rests is within the limit
        flow = flow_new(self, d)
        flow.backend = b
        if b.key_kind:
            flow.has_key = True
            flow.hash_key = b.selector.algorithm.key_of(flow.source.address, 4 if flow.key.family == AF_INET else 16)
        self.flows.hash_key(&flow.key)
        self.sources.hash_key(&flow.source)
        kin = None
        if front.flow == FLOW_SOURCE:
            kin = <UdpFlow>self.kin(&flow.source)
        if not ((kin is not None and flow.join(kin)) or flow.assign()):
            memset(&story, 0, sizeof(story))
            story.start_us = core.reactor.now_us
            story.requests = fl_count(d)
            story.bytes_in = d.len
            report_flow(self, d, b, None, &story, b"SC", b"no server is available")
            flow.abandon()
            return None
        self.front.counters[COUNT_CONNECTIONS] += 1
        b.counters[COUNT_CONNECTIONS] += 1
        self.enter(flow)
        set_deadline(core.reactor, flow, core.reactor.now_ms + front.idle_ms)
        return flow

    cdef void drop(self, int i, int counter) noexcept:
        cdef uint64_t datagrams = fl_count(&self.io.incoming.dgrams[i])
        self.front.counters[counter] += datagrams
        if self.refused and self.core.reactor.now_ms >= self.reported_ms + REPORT_MS:
            self.reported_ms = self.core.reactor.now_ms
            report_refused(self.front.name, self.refused, self.count)
            self.refused = 0

    cdef void accept_rest(self) noexcept:
        cdef int _turn
        # Bounded: a flood must not keep a leaving worker.
        for _turn in range(64):
            if not self.accepting or not self.receive_some():
                return

    cdef void stop(self) noexcept:
        # The socket stays open for the answers that flows still wait for.
        if not self.accepting:
            return
        self.accepting = False
        self.leaving = True
        if FASTLB_DEBUG:
            live_counters()[LIVE_LISTENER] -= 1
        # The supervisor holds the same open socket: closing ours alone would leave it in the epoll set.
        epoll_ctl(self.core.reactor.ep, EPOLL_CTL_DEL, self.fd, NULL)
        self.core.reactor.remove(self)
        if self.count == 0:
            self.io.flush()
            close(self.fd)
            self.fd = -1


cdef void report_refused(bytes name, uint64_t refused, uint32_t flows) noexcept:
    try:
        _log.warning("frontend %s: %d datagrams dropped for there are %d flows", name.decode(), refused, flows)
    except Exception:
        pass
