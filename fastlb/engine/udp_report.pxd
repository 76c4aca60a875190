# What is written and counted when a flow ends, or cannot begin.
from libc.stdint cimport uint64_t
from fastlb._core.datagram cimport fl_dgram
from fastlb.engine.log_record cimport LogRecord
from fastlb.engine.server cimport Server
from fastlb.engine.udp_port cimport UdpPort
from fastlb.engine.upstream cimport Backend

# How a flow went; times in microseconds of the reactor's clock, 0 = never.
ctypedef struct FlowStory:
    uint64_t start_us, asked_us, response_us
    uint64_t requests, responses, bytes_in, bytes_out
    int moves

cdef void report_flow(UdpPort port, const fl_dgram* client, Backend backend, Server server, const FlowStory* story,
                      const char* term, const char* reason) noexcept
