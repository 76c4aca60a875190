# Requests of one route shared among several backends.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from cpython.object cimport PyObject
from fastlb._core.net cimport sockaddr
from fastlb.http.request_head cimport RequestHead

cdef class Split:
    cdef:
        list variants           # Actions
        PyObject** by_index     # borrowed from `variants`
        uint32_t* below         # sums of the weights
        int count
        uint8_t key_kind        # KEY_NONE: each request for itself
        bytes key_name
        uint64_t salt
        uint64_t seed
    # Hot. The Action of the request, borrowed. O(variants).
    cdef PyObject* choose(self, const RequestHead* h, const char* base, const sockaddr* client) noexcept
