"""The reactor's turns of dear work driven from Python: for tests. Nothing of the engine uses it."""

import os

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t
from fastlb._core.net cimport CLOCK_MONOTONIC, EPOLLET, EPOLLIN, clock_gettime, timespec
from fastlb.engine.reactor cimport EventHandler, Reactor


cdef double clock() noexcept:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + t.tv_nsec * 1e-9


cdef class _Worker(EventHandler):
    """Events are logged; its turn keeps the CPU for a while and makes `wakes` readable."""

    cdef:
        TurnProbe owner
        object name
        double seconds
        int echo
        int wakes

    cdef void on_events(self, uint32_t events) noexcept:
        self.owner.log.append(("event", self.name))
        if self.echo >= 0:
            os.write(self.echo, b"x")

    cdef void on_deferred(self) noexcept:
        cdef double end = clock() + self.seconds
        while clock() < end:
            pass
        self.owner.log.append(("turn" if self.owner.reactor.turn == <PyObject*>self else "stray", self.name))
        if self.wakes >= 0:
            os.write(self.wakes, b"x")


cdef class TurnProbe:
    """A reactor with workers whose turns take as long as they are told to; `log` has what was called, in order."""

    cdef:
        Reactor reactor
        dict workers
        readonly list log

    def __init__(self):
        self.reactor = Reactor()
        self.workers = {}
        self.log = []

    def fileno(self):
        """Readable as long as there is something to do."""
        return self.reactor.fileno()

    def watch(self, object name, int fd, int echo=-1):
        """Logs an event whenever `fd`, which stays the caller's, becomes readable, and writes a byte to `echo`."""
        cdef _Worker w = self._worker(name)
        w.fd, w.echo = fd, echo
        if self.reactor.add(w, EPOLLIN | EPOLLET) < 0:
            raise OSError("epoll_ctl")

    def queue(self, object name, double seconds=0, bint begun=False, int wakes=-1):
        """Asks for a turn, whose work takes `seconds` and then writes a byte to `wakes`."""
        cdef _Worker w = self._worker(name)
        w.seconds, w.wakes = seconds, wakes
        if not self.reactor.queue(w, begun):
            raise MemoryError

    def drop(self, object name):
        """What its turn has not come for is gone."""
        self.reactor.remove(self.workers.pop(name))

    def settle(self):
        """As after a change by the control side: work that waits makes `fileno()` readable."""
        self.reactor.settle()

    def stay(self, unsigned awaited=0):
        """Waits for events itself, unless somebody awaits what the outer loop tells."""
        self.reactor.stay()
        self.reactor.awaited = awaited

    def run(self):
        """One call of the loop."""
        self.reactor.run_ready()

    def _worker(self, object name):
        cdef _Worker w = self.workers.get(name)
        if w is None:
            w = _Worker.__new__(_Worker)
            w.fd = w.echo = w.wakes = -1
            w.owner, w.name = self, name
            self.workers[name] = w
        return w
