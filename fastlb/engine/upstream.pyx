"""Backends and frontends as a worker sees them. Made by fastlb.control.builder, read by the data path."""

from libc.stdlib cimport calloc, free
from fastlb.engine.stats cimport private_counters


cdef class Backend:
    """Servers, their selector, timeouts and the queue of exchanges waiting for one of them."""

    def __cinit__(self, str name, Selector selector not None, list servers):
        cdef int i
        self.name = name.encode()
        self.selector = selector
        self.servers = servers
        self.count = len(servers)
        self.counters = private_counters()
        self.queue = WaitQueue()
        self.retry = RetryPolicy(selector, ("connect", "closed"), (), 0.2, 3)
        self.replay_bytes = 65536
        self.captured = Captured()
        self.by_slot = <PyObject**>calloc(max(1, self.count), sizeof(PyObject*))
        if self.by_slot == NULL:
            raise MemoryError
        for i in range(self.count):
            self.by_slot[i] = <PyObject*>servers[i]

    def __dealloc__(self):
        free(self.by_slot)

    @property
    def waiting(self):
        """Exchanges of this worker that wait for a free server."""
        return self.queue.count


cdef class Action:
    """What happens to a request that a route matched."""


cdef class Frontend:
    """Routing table, limits and timeouts of one frontend."""

    def __cinit__(self, str name, Router router not None, list actions):
        cdef int i
        self.name = name.encode()
        self.log_name = self.name
        self.router = router
        self.actions = actions
        self.default_action = len(actions) - 1
        self.counters = private_counters()
        self.captured = Captured()
        self.by_route = <PyObject**>calloc(len(actions), sizeof(PyObject*))
        if self.by_route == NULL:
            raise MemoryError
        for i in range(len(actions)):
            self.by_route[i] = <PyObject*>actions[i]

    def challenge(self, dict answers):
        """Requests for these paths (bytes) get these answers (Respond) whatever the routes say; empty = none do."""
        cdef Action action
        made = {}
        for path, answer in answers.items():
            action = Action()
            action.respond = answer
            made[path] = action
        self.challenges = made or None

    def __dealloc__(self):
        free(self.by_route)
