"""Opens connections to servers, with the options that their configuration asks for."""

from fastlb._core.net cimport (
    AF_UNIX, EINPROGRESS, EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, IPPROTO_TCP, SOCK_CLOEXEC, SOCK_NONBLOCK,
    SOCK_STREAM, TCP_NODELAY, close, connect, errno, setsockopt, sockaddr, socket)
from fastlb.engine.reactor cimport set_deadline
from fastlb.engine.stats cimport COUNT_CONNECTIONS
from fastlb.engine.stream cimport SENT_ERROR
from fastlb.engine.tls cimport tls_connect


cdef int connect_server(Server server, bint* pending) noexcept:
    """A non-blocking socket that is connected, or connecting (`pending`). < 0 when that failed at once: -1 the server's
    fault or the network's, -2 ours (no descriptor, no memory)."""
    cdef int fd
    cdef int one = 1
    pending[0] = False
    if server.address_len == 0:
        return -1
    fd = socket(server.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        return -2
    if server.address.ss_family != AF_UNIX:
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    if connect(fd, <const sockaddr*>&server.address, server.address_len) < 0:
        if errno != EINPROGRESS:
            close(fd)
            return -1
        pending[0] = True
    return fd


cdef int connection_open(Connector by, Core core, Server server, ServerSide u, uint32_t connect_ms) noexcept:
    cdef bint pending
    cdef int fd = connect_server(server, &pending)
    if fd < 0:
        by.failure = fd == -1           # else ours, not the server's
        return OPEN_FAILED
    u.core = core
    u.server = server
    u.fd = fd
    if server.tls is not None:
        u.layer = tls_connect(core, server.tls)
        pending = True
    if ((server.tls is not None and u.layer is None)
            or core.reactor.add(u, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) < 0):
        by.failure = 0
        close(fd)
        return OPEN_FAILED
    by.failure = 1
    server.open_count += 1
    server.counters[COUNT_CONNECTIONS] += 1
    if server.proxy and u.transmit_raw(core.preface, core.preface_len, NULL, 0) == SENT_ERROR:
        u.cancel()
        return OPEN_FAILED
    if pending and connect_ms:
        set_deadline(core.reactor, u, core.reactor.now_ms + connect_ms)
    return OPEN_PENDING if pending else OPEN_DONE
