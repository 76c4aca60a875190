from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastlb.balance.base cimport Algorithm, Ask, ServerSet, View

cdef class IpHash(Algorithm):
    cdef:
        uint64_t* _sums         # configured weights of the seats, summed up

# Key of a client address in network order: 4 octets (the first three count, so a /24 is one client) or 16.
cdef uint64_t ip_key(const uint8_t* address, int length) noexcept nogil
