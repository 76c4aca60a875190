"""Ends what is under way at one server: because it is down, or because the operator says so. Cold.

A session, or any other tunnel, is reset on both sides. A request whose answer has not begun is tried at another server
where that is allowed, and else answered 502; an answer that has begun is broken off. HAProxy's flags for it are D (the
server is down, `on-marked-down shutdown-sessions`) and K (killed, `shutdown sessions server`).
"""

from cpython.object cimport PyObject
from fastlb.balance.selector cimport USE_CANCELLED
from fastlb.engine.client_connection cimport CLIENT_TUNNEL, ClientConnection
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport Exchange, ServerSide
from fastlb.engine.failure cimport FAIL_CLOSED
from fastlb.engine.server cimport Server
from fastlb.engine.upstream cimport Backend


cdef inline bint is_at(Server s, str address) noexcept:
    return s is not None and s.address_text == address


cdef void end_exchange(ClientConnection c, Exchange e, const char* term, const char* reason) noexcept:
    """`term`: the first flag, of two characters; the second is known here."""
    cdef char flags[3]
    cdef ServerSide up = e.up
    cdef Backend b = e.backend
    flags[0] = term[0]
    flags[1] = c'D'
    flags[2] = 0
    if c.state == CLIENT_TUNNEL:
        e.term[0], e.term[1] = flags[0], flags[1]
        e.reason = reason
        e.tunnel_over(True)
        return
    e.up = None
    up.cancel()
    e.give_back(USE_CANCELLED)
    if e.response_started:
        e.cut(flags, reason)
        return
    flags[1] = c'C' if e.connected_us == 0 else c'H'
    if (e.attempts <= b.retries and not e.pinned
            and (e.front.tcp or (e._repeatable() and b.retry.covers(FAIL_CLOSED)
                                 and b.retry.reserve(&e.retrying, b.queue.count)))):
        e.try_elsewhere(FAIL_CLOSED, 502, flags, reason)
    else:
        e.fail(502, flags, reason)


def end_sessions(Core core not None, str backend, str address, *, bint down=False):
    """Ends what this worker has under way at a server of a backend; how much that was. O(connections).

    address: as the configuration writes it; down: that is why, else somebody asked for it.
    """
    cdef bytes name = backend.encode()
    cdef PyObject* at = core.client_first
    cdef ClientConnection c
    cdef Exchange e
    cdef int ended = 0
    while at != NULL:
        c = <ClientConnection>at
        at = c.client_next
        e = c.exchange
        if e is None or e.up is None or e.backend.name != name:
            continue
        if e.other is not None and (is_at(e.other.server, address) or is_at(e.server, address)):
            # Two copies are under way: the one at the other server goes on alone.
            if is_at(e.server, address):
                e.turn_to(e.other.up)
            e.drop_other()
        elif is_at(e.server, address):
            end_exchange(c, e, b"D" if down else b"K",
                         b"server is down, and its sessions are ended" if down else b"ended by the operator")
        else:
            continue
        ended += 1
    return ended
