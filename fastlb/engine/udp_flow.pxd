# One client talking to one server by datagrams.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from fastlb._core.datagram cimport fl_dgram, fl_peer
from fastlb.engine.server cimport Server
from fastlb.engine.udp_socket cimport UdpSocket
from fastlb.engine.udp_port cimport FlowBase, UdpFrontend, UdpPort
from fastlb.engine.upstream cimport Backend

cdef enum:
    FLOW_TRIED = 4
    LENGTHS = 4                 # of the datagrams sent last

cdef class UdpFlow(FlowBase):
    cdef:
        UdpPort port
        Backend backend         # of the snapshot its server was picked in
        Server server
        UdpSocket sock          # None until there is a server
        fl_peer peer            # the client
        int32_t tried[FLOW_TRIED]
        int32_t slot
        uint8_t ntried
        uint8_t attempts        # servers since the last answer
        uint8_t moves           # servers after the first, for the log
        uint8_t at              # in `lengths`
        bint holding            # a server is taken
        bint ended
        bint has_key
        bint leaving
        bint answered           # as often as told: nothing is to come
        uint32_t epoch          # of the backend when the server's state was last looked at
        uint64_t hash_key
        uint64_t start_us, asked_us, response_us    # begun; asked first since the last move; first answer
        uint64_t requests, responses, bytes_in, bytes_out
        uint16_t lengths[LENGTHS]
        # of the batch at hand
        uint64_t run_batch
        int32_t run_first, run_last

    # Picks a server and opens a socket to it. False when nobody can take it.
    cdef bint assign(self) noexcept
    cdef int use(self, int slot) noexcept
    # The server of another flow, if it takes one more.
    cdef bint join(self, UdpFlow kin) noexcept
    # Gives up a flow that was not entered into the port's table.
    cdef void abandon(self) noexcept
    # Before the client's next datagrams: leaves a server that went down or out of the configuration.
    cdef void look_around(self) noexcept
    # Sends the datagrams of the run.
    cdef void send_run(self) noexcept
    cdef void receive(self) noexcept
    cdef int open_socket(self) noexcept
    cdef int transmit(self, int start, int n) noexcept
    cdef int one_by_one(self, int start, int n) noexcept
    # The server cannot be reached. True when another one serves the flow now; else it has ended.
    cdef bint failed(self, int error) noexcept
    cdef int take_errors(self) noexcept
    cdef bint finished(self) noexcept
    cdef void give_back(self, int use) noexcept
    cdef void tell(self, const char* term, const char* reason) noexcept
    cdef bint amplifies(self, UdpFrontend front, const fl_dgram* d, uint64_t size, uint64_t datagrams) noexcept
    cdef void count_answers(self, uint64_t* counters, uint64_t datagrams, uint64_t size) noexcept

# A flow for the sender of a datagram, with its keys; not in the port's table yet, no server picked.
cdef UdpFlow flow_new(UdpPort port, const fl_dgram* d)
