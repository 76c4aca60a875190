/* Clients and servers of the UDP cells, in one thread: so that datagrams which nobody answers can be counted, and no more
   of them sent than arrive. */
#ifndef FASTLB_UDP_LOAD_H
#define FASTLB_UDP_LOAD_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { UL_BATCH = 64, UL_ROOM = 2048, UL_SERVERS = 64, UL_LOST_MS = 200 };

typedef struct {
    uint16_t port;                  /* of the balancer */
    const uint16_t *servers;        /* ports to play the servers on */
    int nservers;
    int sockets;                    /* clients */
    int window;                     /* datagrams under way of each */
    int size;                       /* bytes */
    int reuse;                      /* answers after which a client takes another port; 0 = never */
    int one_way;                    /* nothing is answered; what has arrived makes room for more */
} ul_plan;

typedef struct {
    uint64_t arrived;               /* at clients, or one way at the servers */
    uint64_t lost;                  /* given up: nothing came for UL_LOST_MS */
    double seconds;
} ul_found;

typedef struct {
    int fd, out, uses;
} ul_client;

typedef struct {
    ul_plan plan;
    int ep, at;
    int64_t way;                    /* datagrams under way, one way */
    ul_client *clients;
    int servers[UL_SERVERS];
    struct iovec pieces[UL_BATCH];
    struct sockaddr_in names[UL_BATCH];
    struct mmsghdr headers[UL_BATCH];
    char bytes[UL_BATCH][UL_ROOM];
} ul_load;

static double ul_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A socket in the epoll set: a server bound to the port, or a client connected to it. -1 with errno. */
static int ul_open(ul_load *l, uint16_t port, int server, uint32_t id) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = id};
    int size = 4 << 20;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if ((server ? bind : connect)(fd, (struct sockaddr *)&a, sizeof a) < 0 ||
        epoll_ctl(l->ep, EPOLL_CTL_ADD, fd, &event) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static void ul_close(ul_load *l) {
    for (int i = 0; i < l->plan.sockets; i++)
        if (l->clients[i].fd >= 0)
            close(l->clients[i].fd);
    for (int i = 0; i < l->plan.nservers; i++)
        if (l->servers[i] >= 0)
            close(l->servers[i]);
    close(l->ep);
    free(l->clients);
    free(l);
}

/* NULL with errno when a socket could not be had. Sizes have been checked. */
static ul_load *ul_new(const ul_plan *plan) {
    ul_load *l = (ul_load *)calloc(1, sizeof *l);
    int error = 0;
    if (l == NULL)
        return NULL;
    l->plan = *plan;
    l->clients = (ul_client *)calloc((size_t)plan->sockets, sizeof *l->clients);
    l->ep = epoll_create1(EPOLL_CLOEXEC);
    if (l->clients == NULL || l->ep < 0) {
        free(l->clients);
        free(l);
        return NULL;
    }
    for (int i = 0; i < plan->nservers; i++)
        if ((l->servers[i] = ul_open(l, plan->servers[i], 1, UINT32_MAX - (uint32_t)i)) < 0)
            error = errno;
    for (int i = 0; i < plan->sockets; i++)
        if ((l->clients[i].fd = ul_open(l, plan->port, 0, (uint32_t)i)) < 0)
            error = errno;
    if (error) {
        ul_close(l);
        errno = error;
        return NULL;
    }
    return l;
}

static int ul_receive(ul_load *l, int fd, int named) {
    for (int i = 0; i < UL_BATCH; i++) {
        l->pieces[i] = (struct iovec){l->bytes[i], UL_ROOM};
        memset(&l->headers[i].msg_hdr, 0, sizeof l->headers[i].msg_hdr);
        l->headers[i].msg_hdr.msg_iov = &l->pieces[i];
        l->headers[i].msg_hdr.msg_iovlen = 1;
        if (named) {
            l->headers[i].msg_hdr.msg_name = &l->names[i];
            l->headers[i].msg_hdr.msg_namelen = sizeof l->names[i];
        }
    }
    return recvmmsg(fd, l->headers, UL_BATCH, MSG_DONTWAIT, NULL);
}

static void ul_give(ul_load *l, int fd, int n) {
    for (int done = 0, turns = 0; done < n && turns < 2 * UL_BATCH; turns++) {
        int sent = sendmmsg(fd, l->headers + done, (unsigned)(n - done), 0);
        if (sent > 0)
            done += sent;
        else if (errno != EINTR)
            done++;
    }
}

/* As many datagrams as the client's window has room for. */
static void ul_refill(ul_load *l, ul_client *c) {
    int n = l->plan.window - c->out;
    if (l->plan.reuse && n > l->plan.reuse - c->uses - c->out)
        n = l->plan.reuse - c->uses - c->out;
    if (n > UL_BATCH)
        n = UL_BATCH;
    if (n <= 0)
        return;
    for (int i = 0; i < n; i++) {
        l->pieces[i] = (struct iovec){l->bytes[i], (size_t)l->plan.size};
        memset(&l->headers[i].msg_hdr, 0, sizeof l->headers[i].msg_hdr);
        l->headers[i].msg_hdr.msg_iov = &l->pieces[i];
        l->headers[i].msg_hdr.msg_iovlen = 1;
    }
    ul_give(l, c->fd, n);
    c->out += n;
    l->way += n;
}

/* One way: clients take turns as long as there is room for a window of theirs. */
static void ul_pour(ul_load *l) {
    while (l->way + l->plan.window <= (int64_t)l->plan.window * l->plan.sockets) {
        ul_client *c = &l->clients[l->at];
        l->at = (l->at + 1) % l->plan.sockets;
        c->out = 0;
        ul_refill(l, c);
    }
}

static void ul_served(ul_load *l, int fd, ul_found *found) {
    for (int n, turns = 0; turns < 16 && (n = ul_receive(l, fd, !l->plan.one_way)) > 0; turns++) {
        if (l->plan.one_way) {
            found->arrived += (uint64_t)n;
            l->way = l->way > n ? l->way - n : 0;
            continue;
        }
        for (int i = 0; i < n; i++)
            l->pieces[i].iov_len = l->headers[i].msg_len;
        ul_give(l, fd, n);
    }
}

static void ul_answered(ul_load *l, uint32_t id, ul_found *found) {
    ul_client *c = &l->clients[id];
    int n = ul_receive(l, c->fd, 0);
    if (n <= 0)
        return;
    found->arrived += (uint64_t)n;
    c->uses += n;
    c->out = c->out > n ? c->out - n : 0;
    if (l->plan.reuse && c->uses >= l->plan.reuse) {
        int fd = ul_open(l, l->plan.port, 0, id);
        if (fd >= 0) {
            close(c->fd);
            c->fd = fd;
        }
        c->uses = c->out = 0;
    }
    ul_refill(l, c);
}

static void ul_begin(ul_load *l) {
    l->way = 0;
    if (l->plan.one_way) {
        ul_pour(l);
        return;
    }
    for (int i = 0; i < l->plan.sockets; i++) {
        l->clients[i].out = 0;
        ul_refill(l, &l->clients[i]);
    }
}

/* Lets what is under way arrive: a server that went away before would count as failed. */
static void ul_drain(ul_load *l) {
    struct epoll_event events[256];
    ul_found unused = {0, 0, 0};
    for (int n, turns = 0; turns < 1000 && (n = epoll_wait(l->ep, events, 256, 30)) > 0; turns++)
        for (int i = 0; i < n; i++) {
            uint32_t id = events[i].data.u32;
            if (id >= UINT32_MAX - UL_SERVERS)
                ul_served(l, l->servers[UINT32_MAX - id], &unused);
            else
                ul_receive(l, l->clients[id].fd, 0);
        }
}

static void ul_run(ul_load *l, double seconds, ul_found *found) {
    struct epoll_event events[256];
    double began = ul_now(), heard = began, t;
    uint64_t before = 0;
    memset(found, 0, sizeof *found);
    ul_begin(l);
    while ((t = ul_now()) - began < seconds) {
        int n = epoll_wait(l->ep, events, 256, 20);
        for (int i = 0; i < n; i++) {
            uint32_t id = events[i].data.u32;
            if (id >= UINT32_MAX - UL_SERVERS)
                ul_served(l, l->servers[UINT32_MAX - id], found);
            else
                ul_answered(l, id, found);
        }
        if (l->plan.one_way)
            ul_pour(l);
        if (found->arrived != before) {
            before = found->arrived;
            heard = t;
        } else if (t - heard > UL_LOST_MS / 1000.0) {
            heard = t;
            found->lost += (uint64_t)l->plan.sockets * (uint64_t)l->plan.window;
            ul_begin(l);
        }
    }
    found->seconds = ul_now() - began;
    ul_drain(l);
}

#endif
