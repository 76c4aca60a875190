from libc.stdint cimport uint32_t

cdef class Server:
    cdef:
        readonly str address
        readonly str name
        readonly str host       # '' for a Unix socket
        readonly int port       # 0 for a Unix socket
        readonly str path       # '' but for a Unix socket
        readonly bint backup
        uint32_t _weight
        # Short cut of the one balancer that bound it first: where it is in there. Others look it up. Borrowed; cleared
        # by the balancer when it lets go.
        void* _owner
        int _slot
