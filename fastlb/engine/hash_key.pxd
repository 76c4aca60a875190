# Finds what a hash algorithm hashes in a request.
from libc.stdint cimport uint64_t
from fastlb._core.net cimport sockaddr
from fastlb.engine.upstream cimport Backend
from fastlb.http.request_head cimport RequestHead

# Sets the XXH3-64 of the backend's key; false when the request has none (the balancer then goes round). O(head).
cdef bint find_hash_key(Backend b, const RequestHead* h, const char* base, const sockaddr* client,
                        uint64_t* key) noexcept
