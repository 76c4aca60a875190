"""Opens connections to servers, with the options that their configuration asks for."""

from libc.string cimport memcpy
from fastlb._core.net cimport (
    AF_INET, AF_UNIX, EINPROGRESS, EPOLLET, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, IPPROTO_TCP, SOCK_CLOEXEC,
    SOCK_NONBLOCK, SOCK_STREAM, SO_BINDTODEVICE, SOL_SOCKET, TCP_NODELAY, TCP_QUICKACK, bind, close, connect, errno,
    setsockopt, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socket, socklen_t)
from fastlb.engine.reactor cimport set_deadline
from fastlb.engine.server cimport SocketOptions, pools_give_way
from fastlb.engine.stats cimport COUNT_CONNECTIONS
from fastlb.engine.stream cimport SENT_ERROR
from fastlb.engine.tls cimport tls_connect


cdef bint set_options(const SocketOptions* o, int fd, int family, const sockaddr* client) noexcept:
    cdef int i
    cdef sockaddr_storage here
    cdef socklen_t n = o.source_len
    if family == AF_UNIX:
        return True
    for i in range(o.count):
        if setsockopt(fd, o.level[i], o.name[i], &o.value[i], sizeof(int)) < 0:
            return False
    if o.interface[0] and setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o.interface, sizeof(o.interface)) < 0:
        return False
    if o.from_client and client != NULL and client.sa_family == family:
        n = sizeof(sockaddr_in) if family == AF_INET else sizeof(sockaddr_in6)
        memcpy(&here, client, n)
        # The port stays the kernel's choice: the same one may be in use for another session already.
        if family == AF_INET:
            (<sockaddr_in*>&here).sin_port = 0
        else:
            (<sockaddr_in6*>&here).sin6_port = 0
        return bind(fd, <const sockaddr*>&here, n) == 0
    return n == 0 or o.source.ss_family != family or bind(fd, <const sockaddr*>&o.source, n) == 0


cdef int connect_server(Server server, const sockaddr* client, bint speaks, bint* pending) noexcept:
    """A non-blocking socket that is connected, or connecting (`pending`). < 0 when that failed at once: -1 the server's
    fault or the network's, -2 ours (no descriptor, no memory)."""
    cdef int fd
    cdef int one = 1
    cdef int none = 0
    pending[0] = False
    if server.address_len == 0:
        return -1
    fd = socket(server.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        return -2
    if server.address.ss_family != AF_UNIX:
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        # The acknowledgement that ends the handshake goes out with the first bytes: a segment less on both machines.
        if speaks:
            setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &none, sizeof(none))
    if server.options != NULL and not set_options(server.options, fd, server.address.ss_family, client):
        close(fd)
        return -2
    if connect(fd, <const sockaddr*>&server.address, server.address_len) < 0:
        if errno != EINPROGRESS:
            close(fd)
            return -1
        pending[0] = True
    return fd


cdef int connection_open(Connector by, Core core, Server server, ServerSide u, uint32_t connect_ms,
                         bint speaks) noexcept:
    cdef bint pending
    cdef int fd
    if core.server_connections >= core.max_clients:
        pools_give_way(core)
    fd = connect_server(server, core.client_address, speaks, &pending)
    if fd < 0:
        by.failure = fd == -1           # else ours, not the server's
        if fd != -1:
            core.starved_ms = core.reactor.now_ms
        return OPEN_FAILED
    u.core = core
    u.server = server
    u.fd = fd
    if server.tls is not None:
        u.layer = tls_connect(core, server.tls)
        pending = True
    if ((server.tls is not None and u.layer is None)
            or core.reactor.add(u, EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET) < 0):
        by.failure = 0
        close(fd)
        return OPEN_FAILED
    by.failure = 1
    server.open_count += 1
    core.server_connections += 1
    server.counters[COUNT_CONNECTIONS] += 1
    if server.proxy and u.transmit_raw(core.preface, core.preface_len, NULL, 0) == SENT_ERROR:
        u.cancel()
        return OPEN_FAILED
    if pending and connect_ms:
        set_deadline(core.reactor, u, core.reactor.now_ms + connect_ms)
    return OPEN_PENDING if pending else OPEN_DONE
