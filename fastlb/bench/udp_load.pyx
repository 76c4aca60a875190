"""Clients and servers of the UDP cells; the loop is in udp_load.h."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport errno
from libc.stdint cimport uint16_t, uint64_t

cdef extern from "udp_load.h" nogil:
    enum:
        UL_BATCH
        UL_ROOM
        UL_SERVERS
    ctypedef struct ul_plan:
        uint16_t port
        const uint16_t* servers
        int nservers
        int sockets
        int window
        int size
        int reuse
        int one_way
    ctypedef struct ul_found:
        uint64_t arrived
        uint64_t lost
        double seconds
    ctypedef struct ul_load:
        pass
    ul_load* ul_new(const ul_plan* plan) noexcept
    void ul_run(ul_load* l, double seconds, ul_found* found) noexcept
    void ul_close(ul_load* l) noexcept


cdef class Datagrams:
    """`clients` sockets that each keep `window` datagrams of `size` bytes under way to the balancer on port
    `port` of 127.0.0.1, and the servers behind it, on the ports `servers`.

    Servers answer with what they got; `one_way`, they count it, and as much may be under way as all windows hold.
    `reuse`: answers after which a client takes another port.
    """

    cdef ul_load* _load
    cdef uint16_t* _servers

    def __cinit__(self, int port, servers, *, int clients, int window=1, int size=64, int reuse=0, bint one_way=False):
        cdef ul_plan plan
        cdef int i
        if not 0 < len(servers) <= UL_SERVERS or not 0 < clients <= 10000:
            raise ValueError(f"{len(servers)} servers, {clients} clients")
        if not 0 < window <= UL_BATCH or not 0 <= size <= UL_ROOM or reuse < 0:
            raise ValueError(f"window {window}, {size} bytes, reuse {reuse}")
        self._servers = <uint16_t*>PyMem_Malloc(len(servers) * sizeof(uint16_t))
        if self._servers == NULL:
            raise MemoryError
        for i in range(len(servers)):
            self._servers[i] = servers[i]
        plan.port = <uint16_t>port
        plan.servers = self._servers
        plan.nservers = <int>len(servers)
        plan.sockets = clients
        plan.window = window
        plan.size = size
        plan.reuse = reuse
        plan.one_way = one_way
        self._load = ul_new(&plan)
        if self._load == NULL:
            raise OSError(errno, "sockets of the clients or servers")

    def __dealloc__(self):
        if self._load != NULL:
            ul_close(self._load)
        PyMem_Free(self._servers)

    def run(self, double seconds):
        """Drives for so long: datagrams that arrived (answers, or one way at the servers), lost ones, seconds."""
        cdef ul_found found
        with nogil:
            ul_run(self._load, seconds, &found)
        return found.arrived, found.lost, found.seconds
