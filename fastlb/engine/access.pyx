"""Allow and deny lists of networks, and what those who are denied get.

The tarpit holds a request back before it refuses it: who tries again and again gets fewer tries. It costs this side a
connection as well, so only so many are held; the others are dropped at once, which costs nothing.
"""

from cpython.object cimport PyObject
from fastlb.engine.admission cimport park
from fastlb.engine.exchange cimport ClientSide
from fastlb.engine.stats cimport COUNT_DENIED, COUNT_DROPPED, COUNT_FORBIDDEN, COUNT_TARPITTED
from fastlb.engine.step cimport STEP_DONE, STEP_PASS

cdef extern from "<netinet/in.h>" nogil:
    enum:
        IPPROTO_IP
        IP_TTL
        IPPROTO_IPV6
        IPV6_UNICAST_HOPS
cdef extern from "<sys/socket.h>" nogil:
    int setsockopt(int fd, int level, int name, const void* value, unsigned int size)

ACTIONS = {"forbid": REFUSE_FORBID, "tarpit": REFUSE_TARPIT, "drop": REFUSE_DROP}


cdef class NetworkStep(Step):
    """Refuses who is in `deny`, and where `allow` has networks who is in none of them.

    action: forbid | tarpit | drop; tarpit: seconds; most: requests in the tarpit at a time, in this worker.
    """

    def __init__(self, allow=(), deny=(), str action="forbid", double tarpit=10.0, uint32_t most=1000):
        self.allow = Networks(allow) if allow else None
        self.deny = Networks(deny) if deny else None
        self.how = ACTIONS[action]
        self.tarpit_ms = <uint32_t>(tarpit * 1000)
        self.most = most

    cdef int ask(self, PyObject* exchange) noexcept:
        cdef Exchange e = <Exchange>exchange
        if not (self.deny is not None and self.deny.contains(e.client.peer())) and (
                self.allow is None or self.allow.contains(e.client.peer())):
            return STEP_PASS
        e.front.counters[COUNT_DENIED] += 1
        if self.how == REFUSE_FORBID:
            e.front.counters[COUNT_FORBIDDEN] += 1
            e.fail(403, b"PR", b"address not allowed")
        elif self.how == REFUSE_TARPIT and e.core.tarpitted < self.most:
            e.core.tarpitted += 1
            e.front.counters[COUNT_TARPITTED] += 1
            park(e, self, self.tarpit_ms)
        else:
            e.front.counters[COUNT_DROPPED] += 1
            self._drop(e)
        return STEP_DONE

    cdef void due(self, PyObject* exchange) noexcept:
        cdef Exchange e = <Exchange>exchange
        e.core.tarpitted -= 1
        e.parked = None
        e.fail(403, b"PT", b"address not allowed")

    cdef void left(self, PyObject* exchange) noexcept:
        (<Exchange>exchange).core.tarpitted -= 1

    cdef void _drop(self, Exchange e) noexcept:
        """Ends the connection so that the client, behind a router at least, hears nothing of it."""
        cdef ClientSide c = e.client
        cdef int one = 1
        setsockopt(c.fd, IPPROTO_IP, IP_TTL, &one, sizeof(one))
        setsockopt(c.fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &one, sizeof(one))
        e.cut(b"PR", b"address not allowed")
