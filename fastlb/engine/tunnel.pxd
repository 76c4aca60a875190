# Bytes both ways between two streams, after an upgrade or at layer 4.
from libc.stdint cimport uint64_t
from fastlb.engine.stream cimport Stream

cdef enum:
    HALF_CLOSED_MS = 30000      # one side has ended: the other may be silent this long (HAProxy: client-fin)

cdef enum Tunnel:
    TUNNEL_OPEN = 0
    TUNNEL_ENDED = 1            # both sides have ended and everything is out
    TUNNEL_BROKEN = -1

# Passes on what `src` has to `dst`, within the bounds of a turn; an end of `src` is carried across.
cdef int tunnel_relay(Stream src, Stream dst, uint64_t* count) noexcept
# `dst` has taken its pending bytes: reading of `src` goes on. True when the tunnel has ended.
cdef bint tunnel_drained(Stream dst, Stream src) noexcept
