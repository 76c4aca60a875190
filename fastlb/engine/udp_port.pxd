# What the flows of a UDP listener share: the frontend's options, the scratch memory of a worker, the socket.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from cpython.object cimport PyObject
from fastlb._core.datagram cimport FL_SLOTS, fl_batch, fl_dgram, iovec, mmsghdr
from fastlb.engine.core cimport Core
from fastlb.engine.listener_base cimport ListenerBase
from fastlb.engine.reactor cimport EventHandler
from fastlb.engine.udp_socket cimport RestingSockets, SocketUser
from fastlb.engine.udp_table cimport FlowKey, FlowTable
from fastlb.engine.upstream cimport Backend, Frontend

cdef enum FlowBy:
    FLOW_TUPLE = 0              # client address and port, and our address
    FLOW_SOURCE                 # likewise, but all flows of one client address go to one server
    FLOW_PACKET                 # each datagram by itself

cdef enum:
    QUOTES = 4                  # datagrams that came back and are sent again, of one failure
    QUOTE_SIZE = 2048

cdef class UdpFrontend(Frontend):
    cdef:
        Backend target
        uint8_t flow            # FlowBy
        bint evict              # at the limit the oldest flow makes room; else new ones are refused
        uint32_t requests       # datagrams of the client after which a flow takes no more; 0 = no limit
        bint one_way            # flows end as they begin: nobody gets answers
        int64_t responses       # datagrams that answer one of the client's; -1 = nobody knows
        uint32_t max_flows      # of this worker
        uint32_t amplification  # bytes to the client for each of its own, headers counted; 0 = no limit
        FlowTable shunned       # addresses nobody honest sends from: those of our own servers
        FlowKey* keys

# Scratch memory of a worker, and the datagrams on their way to clients.
cdef class UdpIo(EventHandler):
    cdef:
        Core core
        fl_batch* incoming
        fl_batch* outgoing
        mmsghdr* headers        # FL_SLOTS
        iovec* pieces           # FL_SLOTS: of one flow's datagrams of the batch
        uint16_t segments[FL_SLOTS]
        int32_t following[FL_SLOTS]     # next datagram of the same flow in the batch at hand, -1 = none
        PyObject* runs[FL_SLOTS]        # flows that have some
        char* quotes            # QUOTES * QUOTE_SIZE
        size_t quoted[QUOTES]
        int queued              # slots of `outgoing` in use
        uint64_t batch          # number of the batch at hand
        uint64_t serial         # of the flow begun last
        bint gso, gro
        readonly RestingSockets resting
        readonly uint64_t sent, joined, unsent   # datagrams to clients; calls saved by joining; what the kernel refused
        readonly list ports
    # Free slots of `outgoing`, at least one.
    cdef int room(self) noexcept
    # Slot i of `outgoing` has been filled; it is taken as the next to send. Sent after the batch.
    cdef void queue(self, UdpPort port, FlowBase flow, int i) noexcept
    cdef void flush(self) noexcept

# What a listener knows of a flow.
cdef class FlowBase(SocketUser):
    cdef:
        FlowKey key             # key.local: what replies leave from
        FlowKey source          # of the client's address alone; FLOW_SOURCE
        uint64_t serial
        uint32_t interface
        bint listed             # in the table
        bint heads              # its `source` is in the table of sources
        bint touched            # a datagram came since the last look of who makes room
        PyObject* newer         # all flows of the port, in the order they began or were looked at
        PyObject* older
        PyObject* kin_next      # flows of the same source
        PyObject* kin_prev
    cdef void end(self, const char* term, const char* reason) noexcept
    # The configuration was replaced.
    cdef void rebind(self, UdpFrontend front) noexcept
    # No new datagrams will come: ends it, or sees to it that it does.
    cdef void leave(self, uint32_t within_ms) noexcept

cdef class UdpPort(ListenerBase):
    cdef:
        UdpIo io
        UdpFrontend udp         # = front
        FlowTable flows
        FlowTable sources
        readonly uint32_t count         # flows
        PyObject* newest
        PyObject* oldest
        bint wild               # bound to every address: each datagram says which one it came to
        bint accepting
        bint leaving            # lives on for its last flows
        uint64_t refused        # datagrams dropped for the limit since the last report
        uint64_t reported_ms
    cdef void enter(self, FlowBase flow) noexcept
    cdef void unlist(self, FlowBase flow) noexcept
    cdef void forget(self, FlowBase flow) noexcept
    cdef FlowBase kin(self, const FlowKey* source)
    # Ends the flow that has been quiet the longest, roughly: the oldest one that had no datagram since it was last
    # looked at (the clock algorithm). At most a few looks.
    cdef bint make_room(self) noexcept
    # Ends all flows: at once, or as they finish.
    cdef void leave_all(self, uint32_t within_ms) noexcept
    cdef void end_all(self) noexcept
