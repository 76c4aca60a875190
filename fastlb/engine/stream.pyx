"""A byte stream over a non-blocking descriptor.

Bytes go straight from the worker's scratch memory to the kernel. Only what the kernel does not take is copied, into
pooled chunks that the stream holds until they drain, so a connection that keeps up owns no memory.
"""

from fastlb._core.net cimport errno
from libc.string cimport memcpy, memset
from fastlb._core.net cimport (
    EAGAIN, EINTR, MSG_MORE, MSG_NOSIGNAL, SHUT_WR, SO_LINGER, SOL_SOCKET, close, iovec, msghdr, recv, send,
    sendmsg, setsockopt, shutdown)
from fastlb.engine.buffer cimport Chunk, chunk_free, chunk_new, chunks_free

cdef extern from "<sys/socket.h>" nogil:
    struct linger_t "linger":
        int l_onoff
        int l_linger


cdef class Layer:
    """What stands between a stream and the kernel."""

    cdef ssize_t receive(self, Stream s, char* buf, size_t n) noexcept:
        return IO_ERROR

    cdef int transmit(self, Stream s, const char* a, size_t an, const char* b, size_t bn) noexcept:
        return SENT_ERROR

    cdef int establish(self, Stream s) noexcept:
        return -1

    cdef void expired(self) noexcept:
        pass

    cdef void end(self, Stream s) noexcept:
        pass

    cdef bint ready(self) noexcept:
        return True


cdef class Stream(EventHandler):
    """Base of client, server and tunnel connections."""

    cdef ssize_t receive(self, char* buf, size_t n) noexcept:
        if self.layer is not None:
            return self.layer.receive(self, buf, n)
        return self.receive_raw(buf, n)

    cdef int transmit(self, const char* a, size_t an, const char* b, size_t bn) noexcept:
        if self.layer is not None:
            return self.layer.transmit(self, a, an, b, bn)
        return self.transmit_raw(a, an, b, bn)

    cdef ssize_t receive_raw(self, char* buf, size_t n) noexcept:
        cdef ssize_t got
        while True:
            got = recv(self.fd, buf, n, 0)
            if got > 0:
                # A short read of a stream socket means that it is empty (epoll(7)); the flag covers a FIN behind it.
                if <size_t>got < n and not self.stream_flags & STREAM_EOF:
                    self.stream_flags &= ~STREAM_READABLE
                return got
            if got == 0:
                self.stream_flags = (self.stream_flags | STREAM_EOF) & ~STREAM_READABLE
                return IO_EOF
            if errno == EINTR:
                continue
            self.stream_flags &= ~STREAM_READABLE
            if errno == EAGAIN:
                return IO_AGAIN
            return IO_ERROR

    cdef int transmit_raw(self, const char* a, size_t an, const char* b, size_t bn) noexcept:
        cdef ssize_t sent
        cdef iovec iov[2]
        cdef msghdr m
        cdef int flags = MSG_NOSIGNAL | MSG_MORE if self.stream_flags & STREAM_LAST else MSG_NOSIGNAL
        if self.out != NULL:
            if self._keep(a, an) < 0 or self._keep(b, bn) < 0:
                return SENT_ERROR
            return SENT_PENDING
        while True:
            if bn == 0:
                sent = send(self.fd, a, an, flags)
            elif an == 0:
                sent = send(self.fd, b, bn, flags)
            else:
                memset(&m, 0, sizeof(m))
                iov[0].iov_base = <void*>a
                iov[0].iov_len = an
                iov[1].iov_base = <void*>b
                iov[1].iov_len = bn
                m.msg_iov = iov
                m.msg_iovlen = 2
                sent = sendmsg(self.fd, &m, flags)
            if sent >= 0:
                break
            if errno == EINTR:
                continue
            if errno != EAGAIN:
                return SENT_ERROR
            sent = 0
            break
        if <size_t>sent == an + bn:
            return SENT_ALL
        if <size_t>sent < an:
            if self._keep(a + sent, an - <size_t>sent) < 0 or self._keep(b, bn) < 0:
                return SENT_ERROR
        elif self._keep(b + (<size_t>sent - an), bn - (<size_t>sent - an)) < 0:
            return SENT_ERROR
        return SENT_PENDING

    cdef int _keep(self, const char* p, size_t n) noexcept:
        cdef Chunk* c
        cdef size_t room
        if n == 0:
            return 0
        c = self.out_last
        if c != NULL:
            room = c.cap - c.end
            if room > n:
                room = n
            memcpy(c.data + c.end, p, room)
            c.end += <uint32_t>room
            self.out_bytes += <uint32_t>room
            p += room
            n -= room
            if n == 0:
                return 0
        c = chunk_new(n)
        if c == NULL:
            return -1
        memcpy(c.data, p, n)
        c.end = <uint32_t>n
        if self.out_last != NULL:
            self.out_last.next = c
        else:
            self.out = c
        self.out_last = c
        self.out_bytes += <uint32_t>n
        return 0

    cdef int flush(self) noexcept:
        cdef Chunk* c
        cdef ssize_t sent
        while self.out != NULL:
            c = self.out
            sent = send(self.fd, c.data + c.start, c.end - c.start, MSG_NOSIGNAL)
            if sent < 0:
                if errno == EINTR:
                    continue
                return SENT_PENDING if errno == EAGAIN else SENT_ERROR
            self.out_bytes -= <uint32_t>sent
            c.start += <uint32_t>sent
            if c.start < c.end:
                return SENT_PENDING
            self.out = c.next
            if self.out == NULL:
                self.out_last = NULL
            chunk_free(c)
        if self.stream_flags & STREAM_SHUT_AFTER:
            self.stream_flags &= ~STREAM_SHUT_AFTER
            self.shut_write()
        return SENT_ALL

    cdef void shut_write(self) noexcept:
        if self.stream_flags & (STREAM_WR_SHUT | STREAM_CLOSED):
            return
        if self.out != NULL:
            self.stream_flags |= STREAM_SHUT_AFTER
            return
        if self.layer is not None:
            # Also to a peer that has ended its side: without it the end could be anybody's.
            self.layer.end(self)
            if self.out != NULL:
                self.stream_flags |= STREAM_SHUT_AFTER
                return
        self.stream_flags |= STREAM_WR_SHUT
        shutdown(self.fd, SHUT_WR)

    cdef void forget_out(self) noexcept:
        chunks_free(self.out)
        self.out = NULL
        self.out_last = NULL
        self.out_bytes = 0

    cdef void close_fd(self, bint reset) noexcept:
        cdef linger_t l
        if self.stream_flags & STREAM_CLOSED:
            return
        if self.layer is not None:
            if not reset and not self.stream_flags & (STREAM_WR_SHUT | STREAM_EOF) and self.out == NULL:
                self.layer.end(self)
            self.layer = None
        self.stream_flags |= STREAM_CLOSED
        self.forget_out()
        self.core.reactor.remove(self)
        if reset:
            l.l_onoff = 1
            l.l_linger = 0
            setsockopt(self.fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l))
        close(self.fd)
        self.fd = -1
