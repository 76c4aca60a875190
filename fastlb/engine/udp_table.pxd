# The hash table of flows: open addressing over pointers to keys, which live inside the flows.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastlb._core.datagram cimport fl_dgram

# Who talks to whom. Compared as a whole, so what is not used is zero.
ctypedef struct FlowKey:
    uint8_t address[16]         # of the client; 4 bytes for IPv4
    uint8_t local[16]           # of ours, where the socket has several; else zero
    uint32_t scope              # interface of a link-local address
    uint16_t port               # as on the wire; 0 = whatever port
    uint16_t family
    uint64_t hash
    void* owner                 # not part of it

cdef enum:
    KEY_BYTES = 40              # of a FlowKey that are compared

# The key of a datagram's sender; `port` and `local` say what belongs to it.
cdef void flow_key(FlowKey* key, const fl_dgram* d, bint port, bint local) noexcept nogil

cdef class FlowTable:
    cdef:
        FlowKey** slots         # NULL = free
        uint32_t mask           # slots - 1
        readonly uint32_t count
        uint64_t secret[2]
    # Hot. Fills key.hash in; every key must have passed through it.
    cdef void hash_key(self, FlowKey* key) noexcept nogil
    # Hot. The key that equals this one, or NULL. O(1) expected; a sender cannot aim at a slot, not knowing the secret.
    cdef FlowKey* find(self, const FlowKey* key) noexcept nogil
    # Puts in one that is not there yet; the caller keeps its memory in place. False = out of memory.
    cdef bint put(self, FlowKey* key) noexcept nogil
    # Takes this very key out, when it is in.
    cdef bint remove(self, const FlowKey* key) noexcept nogil
    cdef bint _resize(self, uint32_t size) noexcept nogil
