# Datagrams in batches; described in datagram.h.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastlb._core.net cimport iovec, sockaddr, sockaddr_in, sockaddr_in6

cdef extern from "datagram.h" nogil:
    enum:
        FL_SLOTS
        FL_SLOT_SIZE
        FL_MAX_SEGMENTS
        FL_MAX_SEGMENTED
    struct mmsghdr:
        unsigned int msg_len
    ctypedef union fl_peer:
        sockaddr head
        sockaddr_in v4
        sockaddr_in6 v6
    ctypedef struct fl_dgram:
        fl_peer peer
        uint8_t local[16]
        uint32_t interface
        uint32_t len
        uint16_t segment
        uint16_t cut
        uint64_t serial
        void* owner
    ctypedef struct fl_batch:
        mmsghdr* headers
        iovec* pieces
        fl_dgram* dgrams
    enum:
        SOCK_DGRAM
        IPPROTO_UDP
        ECONNREFUSED
        EHOSTUNREACH
        ENETUNREACH
        EMSGSIZE
        EINVAL
        EIO
        EOPNOTSUPP
        EPERM
    void fl_offloads(int* gso, int* gro) noexcept
    void fl_batch_free(fl_batch* b) noexcept
    fl_batch* fl_batch_new() noexcept
    char* fl_data(fl_batch* b, int i) noexcept
    uint32_t fl_count(const fl_dgram* d) noexcept
    int fl_receive_one(fl_batch* b, int fd, int i) noexcept
    int fl_receive(fl_batch* b, int fd, int first, int n, int plain) noexcept
    void fl_prepare(fl_batch* b, mmsghdr* h, int start, int end, uint16_t segment, int pktinfo) noexcept
    int fl_send_pieces(int fd, iovec* pieces, size_t n, uint16_t segment) noexcept
    int fl_take_error(int fd, char* data, size_t room, size_t* n) noexcept
    void fl_keep_errors(int fd, int family) noexcept
    void fl_join_received(int fd) noexcept
    int fl_ask_local(int fd, int family) noexcept
    int sendmmsg(int fd, mmsghdr* headers, unsigned int n, int flags)
