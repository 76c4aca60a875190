from libc.stdint cimport uint32_t

from fastlb._core.shared cimport ServerLine

cdef class Server:
    cdef:
        # Short cut of the one balancer that bound it first: where it is in there. Others look it up. Borrowed; cleared
        # by the balancer when it lets go. First in the object, so that it shares a cache line with the reference count.
        void* _owner
        ServerLine* _line
        int _slot
        uint32_t _weight
        readonly str address
        readonly str name
        readonly str host       # '' for a Unix socket
        readonly int port       # 0 for a Unix socket
        readonly str path       # '' but for a Unix socket
        readonly bint backup
        readonly int tier       # of the primaries
