"""Bytes both ways between two streams, half-close included."""

from fastlb.engine.core cimport READ_ROUNDS, READ_SIZE
from fastlb.engine.stream cimport (
    IO_AGAIN, IO_EOF, SENT_ERROR, SENT_PENDING, STREAM_DONE, STREAM_FINAL, STREAM_LAST, STREAM_PAUSED,
    STREAM_READABLE)
from fastlb.engine.throttle cimport receive_within


cdef inline int verdict(Stream a, Stream b) noexcept:
    if a.stream_flags & b.stream_flags & STREAM_DONE and a.out == NULL and b.out == NULL:
        return TUNNEL_ENDED
    return TUNNEL_OPEN


cdef int ended(Stream src, Stream dst) noexcept:
    """Carries the end of `src` across."""
    if not src.stream_flags & STREAM_DONE:
        src.stream_flags |= STREAM_DONE
        if dst.layer is None and verdict(src, dst) == TUNNEL_ENDED:
            return TUNNEL_ENDED     # closing says the rest: a call less
        dst.shut_write()
    return verdict(src, dst)


cdef int tunnel_relay(Stream src, Stream dst, uint64_t* count, Throttle within) noexcept:
    cdef ssize_t n
    cdef int rounds = 0
    cdef int sent
    cdef bint last
    while src.stream_flags & (STREAM_READABLE | STREAM_PAUSED) == STREAM_READABLE:
        if rounds >= READ_ROUNDS:
            src.core.reactor.defer(src)
            return TUNNEL_OPEN
        rounds += 1
        if within is None:
            n = src.receive(src.core.rbuf, READ_SIZE)
        else:
            n = receive_within(within, src, dst, src.core.rbuf, READ_SIZE, True)
        if n > 0:
            count[0] += <uint64_t>n
            last = src.stream_flags & STREAM_FINAL and n < READ_SIZE and within is None
            if last and dst.layer is None:
                dst.stream_flags |= STREAM_LAST
            sent = dst.transmit(src.core.rbuf, <size_t>n, NULL, 0)
            if sent == SENT_ERROR:
                return TUNNEL_REFUSED
            if sent == SENT_PENDING:
                src.stream_flags |= STREAM_PAUSED
            if last:
                src.stream_flags &= ~STREAM_READABLE
                return ended(src, dst)
        elif n == IO_EOF:
            return ended(src, dst)
        elif n == IO_AGAIN:
            return TUNNEL_OPEN
        else:
            return TUNNEL_BROKEN
    return TUNNEL_OPEN


cdef bint tunnel_drained(Stream dst, Stream src) noexcept:
    if src.stream_flags & STREAM_PAUSED:
        src.stream_flags &= ~STREAM_PAUSED
        if src.stream_flags & STREAM_READABLE:
            src.core.reactor.defer(src)
    return verdict(src, dst) == TUNNEL_ENDED
