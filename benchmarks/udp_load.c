/* Clients and a server of the comparison in udp_rate.py.

   udp_load serve PORT                          answers every datagram with itself
   udp_load load PORT SOCKETS WINDOW SIZE SECONDS REUSE
                                                keeps WINDOW datagrams of SIZE bytes under way on each of SOCKETS sockets;
                                                REUSE > 0: a socket is replaced after so many answers
   Prints the answers that came. A window that got lost is refilled after 200 ms in which no answer came at all. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, ROOM = 2048 };

static char bytes[BATCH][ROOM];
static struct iovec pieces[BATCH];
static struct sockaddr_in names[BATCH];
static struct mmsghdr headers[BATCH];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int udp(int port, int server) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int size = 4 << 20;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (fd < 0 || (server ? bind : connect)(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        perror("socket");
        exit(1);
    }
    return fd;
}

static int receive(int fd, int named) {
    for (int i = 0; i < BATCH; i++) {
        pieces[i] = (struct iovec){bytes[i], ROOM};
        memset(&headers[i].msg_hdr, 0, sizeof headers[i].msg_hdr);
        headers[i].msg_hdr.msg_iov = &pieces[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        if (named) {
            headers[i].msg_hdr.msg_name = &names[i];
            headers[i].msg_hdr.msg_namelen = sizeof names[i];
        }
    }
    return recvmmsg(fd, headers, BATCH, MSG_DONTWAIT, NULL);
}

static void give(int fd, int n) {
    for (int done = 0; done < n;) {
        int sent = sendmmsg(fd, headers + done, n - done, 0);
        if (sent > 0)
            done += sent;
        else if (errno != EAGAIN && errno != EINTR)
            done++;
    }
}

static void serve(int port) {
    int fd = udp(port, 1), poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    for (;;) {
        epoll_wait(poll, &event, 1, -1);
        for (int n; (n = receive(fd, 1)) > 0;) {
            for (int i = 0; i < n; i++)
                pieces[i].iov_len = headers[i].msg_len;
            give(fd, n);
        }
    }
}

struct client {
    int fd, out, uses;
};

/* As many datagrams as the window has room for. */
static void refill(struct client *c, int window, int size, int reuse) {
    int m = window - c->out;
    if (reuse && m > reuse - c->uses - c->out)
        m = reuse - c->uses - c->out;
    if (m <= 0)
        return;
    for (int j = 0; j < m; j++) {
        pieces[j] = (struct iovec){bytes[j], size};
        memset(&headers[j].msg_hdr, 0, sizeof headers[j].msg_hdr);
        headers[j].msg_hdr.msg_iov = &pieces[j];
        headers[j].msg_hdr.msg_iovlen = 1;
    }
    give(c->fd, m);
    c->out += m;
}

static int load(int port, int sockets, int window, int size, double seconds, int reuse) {
    struct client *clients = calloc(sockets, sizeof *clients);
    int poll = epoll_create1(0);
    struct epoll_event events[256];
    uint64_t answers = 0, before = 0;
    double began = now(), looked = began, t;
    for (int i = 0; i < sockets; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        clients[i].fd = udp(port, 0);
        epoll_ctl(poll, EPOLL_CTL_ADD, clients[i].fd, &event);
        refill(&clients[i], window, size, reuse);
    }
    while ((t = now()) - began < seconds) {
        int n = epoll_wait(poll, events, 256, 50);
        for (int k = 0; k < n; k++) {
            struct client *c = &clients[events[k].data.u32];
            int got = receive(c->fd, 0);
            if (got <= 0)
                continue;
            answers += got;
            c->uses += got;
            c->out = c->out > got ? c->out - got : 0;
            if (reuse && c->uses >= reuse) {
                close(c->fd);
                c->fd = udp(port, 0);
                c->uses = c->out = 0;
                epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &events[k]);
            }
            refill(c, window, size, reuse);
        }
        if (answers != before) {
            before = answers;
            looked = t;
        } else if (t - looked > 0.2) {
            looked = t;
            for (int i = 0; i < sockets; i++) {
                clients[i].out = 0;
                refill(&clients[i], window, size, reuse);
            }
        }
    }
    printf("%llu\n", (unsigned long long)answers);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "serve"))
        serve(atoi(argv[2]));
    if (argc == 8 && !strcmp(argv[1], "load"))
        return load(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), atof(argv[6]), atoi(argv[7]));
    fprintf(stderr, "usage: udp_load serve PORT | load PORT SOCKETS WINDOW SIZE SECONDS REUSE\n");
    return 2;
}
