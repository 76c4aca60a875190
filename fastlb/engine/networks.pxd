# Socket addresses: which network they are in, and how they read as text.
from libc.stdint cimport uint32_t, uint64_t
from fastlb._core.net cimport sockaddr, sockaddr_storage

cdef enum:
    ADDRESS_TEXT = 46           # bytes that hold any address; there is no terminating NUL

ctypedef struct Range6:
    uint64_t first_high, first_low
    uint64_t last_high, last_low

cdef class Networks:
    cdef:
        # disjoint ranges in ascending order; the arrays live in _keep
        const uint32_t* first4
        const uint32_t* last4
        const Range6* range6
        uint32_t count4, count6
        bint local             # Unix sockets belong to the set
        tuple _keep
        tuple _texts

    # Hot. True when the address is in one of the networks; v4-mapped IPv6 is IPv4. NULL: a Unix socket's peer.
    # O(log n).
    cdef bint contains(self, const sockaddr* sa) noexcept nogil

# Hot. Writes the address without port (IPv6 by RFC 5952, without brackets; v4-mapped as IPv4) to out[0:ADDRESS_TEXT]
# and returns its length; 0 for NULL and for Unix sockets.
cdef uint32_t format_address(const sockaddr* sa, char* out) noexcept nogil

# Cold. A socket address for the text of one; 'unix' for that of a Unix socket's peer. OSError for other texts.
cdef int fill_address(sockaddr_storage* storage, str text) except -1
