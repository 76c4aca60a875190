"""Opens the socket of a connection to a server, with the options that its configuration asks for."""

from fastlb._core.net cimport (
    AF_UNIX, EINPROGRESS, IPPROTO_TCP, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, TCP_NODELAY,
    close, connect, errno, setsockopt, sockaddr, socket)


cdef int connect_server(Server server, bint* pending) noexcept:
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
