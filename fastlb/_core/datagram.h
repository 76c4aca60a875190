/* Datagrams in batches: recvmmsg and sendmmsg over one set of slots, and the control messages that go with them
   (destination address, segment size, errors that came back by ICMP). No allocation but for the slots themselves. */
#ifndef FASTLB_DATAGRAM_H
#define FASTLB_DATAGRAM_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    FL_SLOTS = 64,                  /* datagrams of a batch */
    FL_SLOT_SIZE = 65536,           /* the longest datagram is 65507 bytes */
    /* Slots of equal alignment would all compete for the same sets of the cache. */
    FL_SLOT_STRIDE = 65536 + 4096 + 192,
    FL_MAX_SEGMENTS = 64,           /* of one send with UDP_SEGMENT */
    FL_MAX_SEGMENTED = 65000,       /* bytes of it */
    FL_CONTROL = 128
};

/* Where a datagram came from or goes to, and which of our addresses it came to or leaves from. */
typedef union {
    struct sockaddr head;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} fl_peer;

typedef struct {
    fl_peer peer;
    uint8_t local[16];              /* address of ours, 4 or 16 bytes; all zero = the socket's own */
    uint32_t interface;             /* index, where a link-local address needs it */
    uint32_t len;
    uint16_t segment;               /* several datagrams of this length, the last one perhaps shorter; 0 = one */
    uint16_t cut;                   /* it did not fit */
    uint64_t serial;                /* of the flow; sent neighbours of one flow may be joined */
    void *owner;                    /* who sends it */
} fl_dgram;

typedef struct {
    struct mmsghdr headers[FL_SLOTS];
    struct iovec pieces[FL_SLOTS];  /* of the slots; may be permuted */
    fl_dgram dgrams[FL_SLOTS];
    char control[FL_SLOTS][FL_CONTROL] __attribute__((aligned(8)));
    char *memory;
} fl_batch;

/* Whether the kernel splits what is sent (GSO) and joins what it received (GRO); asked once. */
static inline void fl_offloads(int *gso, int *gro) {
    int on = 1, zero = 0;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    *gso = *gro = 0;
    if (fd < 0)
        return;
    *gso = setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &zero, sizeof zero) == 0;
    *gro = setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) == 0;
    close(fd);
}

static inline void fl_batch_free(fl_batch *b) {
    if (b == NULL)
        return;
    if (b->memory != NULL)
        munmap(b->memory, (size_t)FL_SLOTS * FL_SLOT_STRIDE);
    free(b);
}

/* Slots take memory only as far as datagrams reach. NULL when there is none. */
static inline fl_batch *fl_batch_new(void) {
    fl_batch *b = (fl_batch *)calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->memory = (char *)mmap(NULL, (size_t)FL_SLOTS * FL_SLOT_STRIDE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (b->memory == MAP_FAILED) {
        b->memory = NULL;
        fl_batch_free(b);
        return NULL;
    }
#ifdef MADV_NOHUGEPAGE
    madvise(b->memory, (size_t)FL_SLOTS * FL_SLOT_STRIDE, MADV_NOHUGEPAGE);
#endif
    for (int i = 0; i < FL_SLOTS; i++)
        b->pieces[i].iov_base = b->memory + (size_t)i * FL_SLOT_STRIDE;
    return b;
}

static inline char *fl_data(fl_batch *b, int i) { return (char *)b->pieces[i].iov_base; }

/* Datagrams that `d` stands for. */
static inline uint32_t fl_count(const fl_dgram *d) {
    return d->segment && d->len > d->segment ? (d->len + d->segment - 1) / d->segment : 1;
}

/* Receives one datagram of a connected socket into slot `i`, at less cost than fl_receive. 1, or -errno. */
static inline int fl_receive_one(fl_batch *b, int fd, int i) {
    fl_dgram *d = &b->dgrams[i];
    ssize_t n = recv(fd, b->pieces[i].iov_base, FL_SLOT_SIZE, MSG_DONTWAIT);
    if (n < 0)
        return -errno;
    d->len = (uint32_t)n;
    d->segment = 0;
    d->cut = 0;
    return 1;
}

/* Receives up to `n` datagrams into the slots from `first` on; `plain`: from a connected socket, whose peer is known.
   How many came, or -errno. */
static inline int fl_receive(fl_batch *b, int fd, int first, int n, int plain) {
    struct mmsghdr *h = b->headers + first;
    int i, got;
    for (i = 0; i < n; i++) {
        b->pieces[first + i].iov_len = FL_SLOT_SIZE;
        h[i].msg_hdr.msg_name = plain ? NULL : (void *)&b->dgrams[first + i].peer;
        h[i].msg_hdr.msg_namelen = plain ? 0 : sizeof(fl_peer);
        h[i].msg_hdr.msg_iov = &b->pieces[first + i];
        h[i].msg_hdr.msg_iovlen = 1;
        h[i].msg_hdr.msg_control = b->control[first + i];
        h[i].msg_hdr.msg_controllen = FL_CONTROL;
        h[i].msg_hdr.msg_flags = 0;
    }
    got = recvmmsg(fd, h, (unsigned)n, MSG_DONTWAIT, NULL);
    if (got < 0)
        return -errno;
    for (i = 0; i < got; i++) {
        struct msghdr *m = &h[i].msg_hdr;
        fl_dgram *d = &b->dgrams[first + i];
        struct cmsghdr *c;
        d->len = h[i].msg_len;
        d->segment = 0;
        d->cut = (m->msg_flags & MSG_TRUNC) != 0;
        if (m->msg_controllen == 0)
            continue;
        for (c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
            if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
                int size;
                memcpy(&size, CMSG_DATA(c), sizeof size);
                if (size > 0 && (uint32_t)size < d->len)
                    d->segment = (uint16_t)size;
            } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                struct in_pktinfo info;
                memcpy(&info, CMSG_DATA(c), sizeof info);
                memset(d->local, 0, 16);
                memcpy(d->local, &info.ipi_spec_dst, 4);
                d->interface = 0;
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                struct in6_pktinfo info;
                memcpy(&info, CMSG_DATA(c), sizeof info);
                memcpy(d->local, &info.ipi6_addr, 16);
                d->interface = IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) ? info.ipi6_ifindex : 0;
            }
        }
    }
    return got;
}

static inline size_t fl_put(struct msghdr *m, size_t used, int level, int type, const void *data, size_t n) {
    struct cmsghdr *c = (struct cmsghdr *)((char *)m->msg_control + used);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(n);
    memcpy(CMSG_DATA(c), data, n);
    return used + CMSG_SPACE(n);
}

/* One message of the datagrams in slots[from:to], all of one flow; with more than one, or a segment, it is split again
   by the kernel into datagrams of `segment` bytes. */
static inline void fl_prepare(fl_batch *b, struct mmsghdr *h, int from, int to, uint16_t segment, int pktinfo) {
    fl_dgram *d = &b->dgrams[from];
    struct msghdr *m = &h->msg_hdr;
    size_t used = 0;
    int i;
    for (i = from; i < to; i++)
        b->pieces[i].iov_len = b->dgrams[i].len;
    m->msg_name = &d->peer;
    m->msg_namelen = d->peer.head.sa_family == AF_INET ? sizeof d->peer.v4 : sizeof d->peer.v6;
    m->msg_iov = &b->pieces[from];
    m->msg_iovlen = (size_t)(to - from);
    m->msg_control = b->control[from];
    m->msg_flags = 0;
    if (segment)
        used = fl_put(m, used, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
    if (pktinfo && d->peer.head.sa_family == AF_INET) {
        struct in_pktinfo info;
        memset(&info, 0, sizeof info);
        memcpy(&info.ipi_spec_dst, d->local, 4);
        used = fl_put(m, used, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else if (pktinfo) {
        struct in6_pktinfo info;
        memset(&info, 0, sizeof info);
        memcpy(&info.ipi6_addr, d->local, 16);
        info.ipi6_ifindex = d->interface;
        used = fl_put(m, used, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
    m->msg_controllen = used;
    if (used == 0)
        m->msg_control = NULL;
}

/* Sends one datagram, or several at once, over a connected socket: pieces[0:n], in `segment` bytes each when not 0.
   0 or errno. */
static inline int fl_send_pieces(int fd, struct iovec *pieces, size_t n, uint16_t segment) {
    char control[CMSG_SPACE(sizeof(uint16_t))] __attribute__((aligned(8)));
    struct msghdr m;
    if (n == 1 && segment == 0)
        return send(fd, pieces->iov_base, pieces->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
    memset(&m, 0, sizeof m);
    m.msg_iov = pieces;
    m.msg_iovlen = n;
    if (segment) {
        memset(control, 0, sizeof control);
        m.msg_control = control;
        m.msg_controllen = fl_put(&m, 0, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
    }
    return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
}

/* Takes one error that came back for a datagram sent on `fd`: its errno, 0 when there is none (any more). What of the
   datagram came back with it is in data[0:*n]. */
static inline int fl_take_error(int fd, char *data, size_t room, size_t *n) {
    char control[512] __attribute__((aligned(8)));
    struct iovec piece = {data, room};
    struct msghdr m;
    struct cmsghdr *c;
    ssize_t got;
    *n = 0;
    memset(&m, 0, sizeof m);
    m.msg_iov = &piece;
    m.msg_iovlen = 1;
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    got = recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (got < 0)
        return 0;
    for (c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
        if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
            (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
            struct sock_extended_err e;
            memcpy(&e, CMSG_DATA(c), sizeof e);
            if (!(m.msg_flags & MSG_TRUNC))
                *n = (size_t)got;
            return e.ee_errno ? (int)e.ee_errno : EPROTO;
        }
    }
    return EPROTO;
}

/* Has errors that ICMP reports kept for fl_take_error. */
static inline void fl_keep_errors(int fd, int family) {
    int on = 1;
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
    else
        setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
}

static inline void fl_join_received(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
}

/* Has the kernel say which of our addresses a datagram came to. */
static inline int fl_ask_local(int fd, int family) {
    int on = 1;
    return family == AF_INET6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on)
                              : setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
}

#endif
