# Receives the datagrams of clients and hands them to their flows.
from fastlb.engine.udp_flow cimport UdpFlow
from fastlb.engine.udp_port cimport UdpPort

cdef class UdpListener(UdpPort):
    cdef bint receive_some(self) noexcept
    cdef UdpFlow flow_of(self, int i)
    cdef UdpFlow begin(self, int i)
    cdef void drop(self, int i, int counter) noexcept
