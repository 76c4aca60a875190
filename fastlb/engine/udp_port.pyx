"""What the flows of a UDP listener share.

Datagrams to clients are received straight into the slots they are sent from, and leave together after the batch of
events: one sendmmsg for up to 64 of them. Neighbours of one flow that are equally long are joined to one message which
the kernel splits again (GSO).
"""

from cpython.ref cimport Py_INCREF
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from fastlb._core.datagram cimport (
    FL_MAX_SEGMENTED, FL_MAX_SEGMENTS, fl_batch_free, fl_batch_new, fl_offloads, fl_prepare, sendmmsg)
from fastlb._core.net cimport EAGAIN, EINTR, MSG_DONTWAIT, MSG_NOSIGNAL, close, errno
from fastlb.engine.reactor cimport HANDLER_REGISTERED
from fastlb.engine.stats cimport COUNT_CURRENT, COUNT_OPEN, COUNT_PEAK, count_up

cdef enum:
    LOOKS = 8                   # at flows that were used lately, before one goes all the same


cdef class UdpFrontend(Frontend):
    """A frontend of mode udp: one backend, no routes."""

    def __dealloc__(self):
        free(self.keys)

    def set_up(
        self, Backend target, *, int flow, bint evict, uint32_t requests, int64_t responses, uint32_t max_flows,
        uint32_t amplification, shunned
    ):
        """`shunned`: (packed address, port) from which no client can honestly send."""
        cdef FlowKey* key
        cdef bytes packed
        self.target = target
        self.flow = <uint8_t>flow
        self.evict = evict
        self.requests = requests
        self.responses = responses
        self.one_way = responses == 0 and (flow == FLOW_PACKET or requests <= 1)
        self.max_flows = max_flows
        self.amplification = amplification
        self.shunned = FlowTable()
        shunned = set(shunned)
        self.keys = <FlowKey*>calloc(max(1, len(shunned)), sizeof(FlowKey))
        if self.keys == NULL:
            raise MemoryError
        key = self.keys
        for packed, port in shunned:
            memcpy(key.address, <const char*>packed, len(packed))
            key.family = 2 if len(packed) == 4 else 10
            key.port = int.from_bytes(int(port).to_bytes(2, "big"), "little")
            self.shunned.hash_key(key)
            if not self.shunned.put(key):
                raise MemoryError
            key += 1


cdef class UdpIo(EventHandler):
    """One a worker, made with its first UDP listener. Lives by deferral: it has no descriptor."""

    def __cinit__(self, Core core not None):
        cdef int gso = 0, gro = 0
        self.core = core
        self.fd = -1
        self.ports = []
        self.resting = RestingSockets(core)
        self.incoming = fl_batch_new()
        self.outgoing = fl_batch_new()
        self.headers = <mmsghdr*>calloc(FL_SLOTS, sizeof(mmsghdr))
        self.pieces = <iovec*>calloc(FL_SLOTS, sizeof(iovec))
        self.quotes = <char*>calloc(QUOTES, QUOTE_SIZE)
        if (self.incoming == NULL or self.outgoing == NULL or self.headers == NULL or self.pieces == NULL
                or self.quotes == NULL):
            raise MemoryError
        fl_offloads(&gso, &gro)
        self.gso = gso
        self.gro = gro

    def __dealloc__(self):
        fl_batch_free(self.incoming)
        fl_batch_free(self.outgoing)
        free(self.headers)
        free(self.pieces)
        free(self.quotes)

    cdef int room(self) noexcept:
        if self.queued == FL_SLOTS:
            self.flush()
        return FL_SLOTS - self.queued

    cdef void queue(self, UdpPort port, FlowBase flow, int i) noexcept:
        cdef fl_dgram* d = &self.outgoing.dgrams[i]
        cdef int at = self.queued
        cdef void* memory
        if i != at:
            # Slots before this one were given up: this datagram moves there, bytes and all, by a swap of pointers.
            memory = self.outgoing.pieces[at].iov_base
            self.outgoing.pieces[at].iov_base = self.outgoing.pieces[i].iov_base
            self.outgoing.pieces[i].iov_base = memory
            self.outgoing.dgrams[at] = d[0]
            d = &self.outgoing.dgrams[at]
        memcpy(d.local, flow.key.local, 16)
        d.interface = flow.interface
        d.serial = flow.serial
        d.owner = <void*>port
        if at == 0:
            self.core.reactor.defer(self)
        self.queued += 1

    cdef void on_deferred(self) noexcept:
        self.flush()

    cdef void flush(self) noexcept:
        cdef fl_batch* b = self.outgoing
        cdef UdpPort port
        cdef int start = 0
        cdef int end, n, done, result
        cdef uint32_t size, total
        cdef uint16_t segment
        while start < self.queued:
            port = <UdpPort>b.dgrams[start].owner
            n = 0
            while start < self.queued and b.dgrams[start].owner == <void*>port:
                size = total = b.dgrams[start].len
                segment = b.dgrams[start].segment
                end = start + 1
                if self.gso and segment == 0 and size:
                    while (end < self.queued and b.dgrams[end].serial == b.dgrams[start].serial
                           and b.dgrams[end].segment == 0 and b.dgrams[end].len and b.dgrams[end].len <= size
                           and b.dgrams[end - 1].len == size and end - start < FL_MAX_SEGMENTS
                           and total + b.dgrams[end].len <= FL_MAX_SEGMENTED):
                        total += b.dgrams[end].len
                        end += 1
                    if end > start + 1:
                        segment = <uint16_t>size
                        self.joined += <uint64_t>(end - start - 1)
                fl_prepare(b, &self.headers[n], start, end, segment, port.wild)
                n += 1
                start = end
            done = 0
            while done < n:
                result = sendmmsg(port.fd, &self.headers[done], <unsigned int>(n - done), MSG_DONTWAIT | MSG_NOSIGNAL)
                if result > 0:
                    done += result
                    self.sent += <uint64_t>result
                elif errno != EINTR:
                    # No room in the kernel, no way to the client, or a rule against it: datagrams get lost.
                    self.unsent += 1
                    done += n - done if errno == EAGAIN else 1
        self.queued = 0


cdef class FlowBase(SocketUser):
    """What a listener knows of a flow."""

    cdef void end(self, const char* term, const char* reason) noexcept: pass
    cdef void rebind(self, UdpFrontend front) noexcept: pass
    cdef void leave(self, uint32_t within_ms) noexcept: pass


cdef class UdpPort(ListenerBase):
    """The socket of a listener, its table of flows and their order."""

    cdef void enter(self, FlowBase flow) noexcept:
        """A new flow; its keys are filled in."""
        cdef FlowKey* head
        cdef FlowBase other
        flow.key.owner = <void*>flow
        # The reactor gives this reference up after the batch in which the flow ends.
        Py_INCREF(flow)
        flow.handler_flags |= HANDLER_REGISTERED
        self.count += 1
        flow.older = self.newest
        if self.newest != NULL:
            (<FlowBase>self.newest).newer = <PyObject*>flow
        else:
            self.oldest = <PyObject*>flow
        self.newest = <PyObject*>flow
        if self.udp.flow != FLOW_PACKET:
            flow.listed = self.flows.put(&flow.key)
        if self.udp.flow == FLOW_SOURCE and flow.listed:
            head = self.sources.find(&flow.source)
            if head == NULL:
                flow.source.owner = <void*>flow
                flow.heads = self.sources.put(&flow.source)
            else:
                other = <FlowBase>head.owner
                flow.kin_next = other.kin_next
                flow.kin_prev = <PyObject*>other
                if other.kin_next != NULL:
                    (<FlowBase>other.kin_next).kin_prev = <PyObject*>flow
                other.kin_next = <PyObject*>flow
        self.core.clients += 1
        count_up(self.front.counters, COUNT_OPEN, COUNT_PEAK)
        self.front.counters[COUNT_CURRENT] += 1

    cdef FlowBase kin(self, const FlowKey* source):
        cdef FlowKey* head = self.sources.find(source)
        return <FlowBase>head.owner if head != NULL else None

    cdef void unlist(self, FlowBase flow) noexcept:
        """Takes no more datagrams of the client; answers go on."""
        cdef FlowBase other
        if flow.listed:
            flow.listed = False
            self.flows.remove(&flow.key)
        if flow.heads:
            flow.heads = False
            self.sources.remove(&flow.source)
            if flow.kin_next != NULL:
                other = <FlowBase>flow.kin_next
                other.source.owner = <void*>other
                other.heads = self.sources.put(&other.source)
        if flow.kin_prev != NULL:
            (<FlowBase>flow.kin_prev).kin_next = flow.kin_next
        if flow.kin_next != NULL:
            (<FlowBase>flow.kin_next).kin_prev = flow.kin_prev
        flow.kin_next = NULL
        flow.kin_prev = NULL

    cdef void forget(self, FlowBase flow) noexcept:
        """The flow has ended."""
        self.unlist(flow)
        if flow.newer != NULL:
            (<FlowBase>flow.newer).older = flow.older
        else:
            self.newest = flow.older
        if flow.older != NULL:
            (<FlowBase>flow.older).newer = flow.newer
        else:
            self.oldest = flow.newer
        flow.newer = NULL
        flow.older = NULL
        self.count -= 1
        self.core.clients -= 1
        self.front.counters[COUNT_OPEN] -= 1
        self.front.counters[COUNT_CURRENT] -= 1
        if self.leaving and self.count == 0:
            self.io.flush()
            if self.fd >= 0:
                close(self.fd)
                self.fd = -1

    cdef bint make_room(self) noexcept:
        cdef int _i
        cdef FlowBase flow
        for _i in range(LOOKS):
            if self.oldest == NULL:
                return False
            flow = <FlowBase>self.oldest
            if not flow.touched or flow.newer == NULL:
                break
            flow.touched = False
            # Behind all others: it has another turn.
            self.oldest = flow.newer
            (<FlowBase>flow.newer).older = NULL
            flow.newer = NULL
            flow.older = self.newest
            (<FlowBase>self.newest).newer = <PyObject*>flow
            self.newest = <PyObject*>flow
        if self.oldest == NULL:
            return False
        (<FlowBase>self.oldest).end(b"RD", b"made room for a new flow")
        return True

    cdef void leave_all(self, uint32_t within_ms) noexcept:
        cdef PyObject* p = self.oldest
        cdef FlowBase flow
        while p != NULL:
            flow = <FlowBase>p
            p = flow.newer
            flow.leave(within_ms)

    cdef void end_all(self) noexcept:
        while self.oldest != NULL:
            (<FlowBase>self.oldest).end(b"KD", NULL)
