# Bytes both ways between two streams, after an upgrade or at layer 4.
from libc.stdint cimport uint64_t
from fastlb.engine.stream cimport STREAM_DONE, Stream
from fastlb.engine.throttle cimport Throttle

cdef enum Tunnel:
    TUNNEL_OPEN = 0
    TUNNEL_ENDED = 1            # both sides have ended and everything is out
    TUNNEL_BROKEN = -1          # the source broke off
    TUNNEL_REFUSED = -2         # the destination takes no more

# Passes on what `src` has to `dst`, within the bounds of a turn; an end of `src` is carried across.
# `within`: how fast; None = as fast as it goes.
cdef int tunnel_relay(Stream src, Stream dst, uint64_t* count, Throttle within) noexcept
# `dst` has taken its pending bytes: reading of `src` goes on. True when the tunnel has ended.
cdef bint tunnel_drained(Stream dst, Stream src) noexcept

# Both sides have said all they wanted: closing is orderly, and what the kernel still holds must go out.
cdef inline bint tunnel_complete(Stream a, Stream b) noexcept:
    return b is not None and a.stream_flags & b.stream_flags & STREAM_DONE != 0
