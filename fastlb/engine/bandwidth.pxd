# Limits of bandwidth as configured: of a frontend, a route or a backend.
from libc.stdint cimport uint64_t
from fastlb._core.net cimport sockaddr
from fastlb.engine.extras cimport Extras
from fastlb.engine.holds cimport Holds
from fastlb.engine.networks cimport Networks
from fastlb.engine.rate_limit cimport RateRule
from fastlb.engine.reactor cimport Reactor
from fastlb.http.request_head cimport RequestHead

cdef class BandwidthRule:
    cdef:
        RateRule by                     # whose key shares the rates; None = each request has its own
        Networks exempt                 # None = nobody
        double request_ns, response_ns  # of a byte; 0 = unlimited
        uint64_t request_after, response_after

cdef class Bandwidth:
    cdef:
        list rules
        Holds holds                     # the tables that workers share
    # Makes what holds an exchange's bytes back, or adds to it. Waits are counted in `counters`. O(rules).
    cdef void impose(self, Extras to, Reactor reactor, uint64_t* counters, const RequestHead* h, const char* base,
                     const sockaddr* client) noexcept
