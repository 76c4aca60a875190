"""What a worker gives up, step by step, when descriptors, memory or connections run out (Envoy's overload manager).

Pressure is the share in use: of the client connections allowed, of RLIMIT_NOFILE, of the memory that the process may
have. Each step has a mark; one that was taken is left when the pressure is a twentieth below it, so that the worker
does not go back and forth. Looked at ten times a second, and never on a request's path: what a step changes is a number
that is read there anyway.
"""

import logging
import os
import resource

from cpython.object cimport PyObject
from fastlb._core.atomics cimport fl_store32, fl_store64
from fastlb._core.region cimport Region
from fastlb.engine.buffer cimport chunks_trim
from fastlb.engine.client_connection cimport CLIENT_HEAD, ClientConnection
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.server cimport Server, pool_clear

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    #define fl_malloc_trim() ((void)malloc_trim(0))
    #else
    #define fl_malloc_trim() ((void)0)
    #endif
    """
    void fl_malloc_trim() noexcept nogil

cdef enum:
    STARVED_MS = 1000           # a descriptor that could not be had counts for so long
    MEMORY_MS = 1000            # between two looks at memory
    FILES_MS = 5000             # between two counts of all descriptors
    FILES_FEW = 2000            # of so many: with more a count takes too long
    SPARE = 64                  # descriptors that are not promised to connections
    RESET_AT_ONCE = 8           # connections that are reset between two looks
    RESET_ABOVE = 65536         # bytes that one must hold
    IDLE_SHARE = 10             # idle connections may have a tenth of their time

cdef double HYSTERESIS = 0.05
STEPS = ("calm", "answers close their connections", "idle connections end early", "no connection is accepted",
         "the connections that hold most memory are reset")
RESOURCES_BY_NUMBER = ("", "connections", "descriptors", "memory")
_log = logging.getLogger("fastlb.engine")


cdef class Overload:
    """Of one worker. region, worker: where it is told; connections: client connections that it takes in calm."""

    def __init__(self, Core core not None, Region region not None, int worker, unsigned connections):
        self.core = core
        self.region = region
        self.line = &region.limits.workers[worker]
        self.most = connections
        fl_store32(&self.line.step, 0)      # of a process that was here before

    def configure(self, marks, memory):
        """marks: of the four steps, 0-1, 0 = the step is not taken; memory: bytes, 0 = not watched."""
        cdef int i
        for i in range(4):
            self.marks[i + 1] = marks[i]
        self.memory = memory
        self.files_ms = self.memory_ms = 0

    def tick(self, servers):
        """Looks at what there is, and takes or leaves steps. `servers`: of this worker. O(1), from step 2 on O(servers
        and clients)."""
        cdef uint64_t now = self.core.reactor.now_ms
        cdef uint64_t used = self.core.clients
        cdef uint64_t resident
        cdef double[RESOURCES] pressure
        cdef bint looked = False, lean = False, pools = False
        cdef int i, step, highest = STEP_CALM, why = SHORT_OF_NOTHING
        pressure[SHORT_OF_NOTHING] = 0
        pressure[SHORT_OF_CONNECTIONS] = <double>used / self.most if self.most else 0
        used += self.core.server_connections
        if self.files_ms == 0 or now - self.files_ms >= FILES_MS:
            self.files_ms = now
            self._count_files(used)
        pressure[SHORT_OF_DESCRIPTORS] = 0
        if 2 * <uint64_t>self.most + self.others > self.descriptors + SPARE > SPARE:
            pressure[SHORT_OF_DESCRIPTORS] = <double>(used + self.others) / self.descriptors
        if self.core.starved_ms and now - self.core.starved_ms < STARVED_MS:
            pressure[SHORT_OF_DESCRIPTORS] = max(pressure[SHORT_OF_DESCRIPTORS], 1)
        if self.memory and (self.memory_ms == 0 or now - self.memory_ms >= MEMORY_MS):
            self.memory_ms = now
            resident = resident_bytes()
            # With no descriptor left to look there is no telling; memory is not free for that.
            if resident:
                self.resident = resident
                looked = True
        pressure[SHORT_OF_MEMORY] = <double>self.resident / self.memory if self.memory else 0
        for i in range(1, RESOURCES):
            step = self._step_at(i, pressure[i])
            if i != SHORT_OF_CONNECTIONS:
                lean = lean or step >= STEP_CLOSE
                pools = pools or step >= STEP_SHED
            if step > highest or (step == highest and pressure[i] > pressure[why]):
                highest, why = step, i
        fl_store32(&self.line.pressure, <uint32_t>(pressure[why] * 1000))
        fl_store32(&self.line.short_of, <uint32_t>why)
        if highest != self.step:
            self._enter(highest, why, pressure[why])
        self.core.lean = lean
        self.core.parting = self.core.draining or lean
        if highest >= STEP_SHED:
            self._shed(highest, servers if pools else ())
            if looked and pressure[SHORT_OF_MEMORY] >= self.marks[STEP_CLOSE] > 0:
                chunks_trim()
                fl_malloc_trim()
            if looked and highest == STEP_RESET and resident_bytes() >= self.marks[STEP_RESET] * self.memory:
                self._reset()

    cdef int _step_at(self, int what, double pressure) noexcept:
        """The step that one resource asks for. Who is busy and sent away for want of connections would be back at once:
        for them idle ones end, and at their limit accepting pauses anyway. No descriptor is had by resetting who holds
        memory."""
        cdef int most = STEP_SHED if what == SHORT_OF_CONNECTIONS else (
            STEP_REFUSE if what == SHORT_OF_DESCRIPTORS else STEP_RESET)
        cdef int i, step = STEP_CALM
        for i in range(STEP_SHED if what == SHORT_OF_CONNECTIONS else STEP_CLOSE, most + 1):
            if self.marks[i] > 0 and pressure >= self.marks[i] - (HYSTERESIS if i <= self.step else 0):
                step = i
        return step

    def _count_files(self, used):
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.descriptors = 0 if soft == resource.RLIM_INFINITY else soft
        if used >= FILES_FEW:
            return
        try:
            there = len(os.listdir("/proc/self/fd"))
        except OSError:                 # not even one descriptor is left to look
            return
        self.others = there - used if there > used else 0

    def _enter(self, int step, int why, double pressure):
        if step > self.step:
            fl_store64(&self.line.steps, self.line.steps + <uint64_t>(step - self.step))
            _log.warning("overload: step %d of 4, %s: %s at %d %%", step, STEPS[step], RESOURCES_BY_NUMBER[why],
                         round(pressure * 100))
        elif step == STEP_CALM:
            _log.warning("overload is over")
        else:
            _log.warning("overload: back to step %d of 4, %s", step, STEPS[step])
        self.step = step
        fl_store32(&self.line.step, <uint32_t>step)
        self.core.max_clients = 0 if step >= STEP_REFUSE else self.most

    def _shed(self, int step, servers):
        """Ends idle connections: the servers' all, the clients' that have been idle for a tenth of their time; all of
        these where nothing is accepted any more."""
        cdef PyObject* p = self.core.client_first
        cdef ClientConnection c
        cdef Server server
        cdef uint64_t now = self.core.reactor.now_ms
        cdef uint64_t n = 0, left, whole
        for server in servers:
            n += server.idle_count
            pool_clear(server)
        while p != NULL:
            c = <ClientConnection>p
            p = c.client_next
            if c.state != CLIENT_HEAD or c.exchange is not None or c.out != NULL or c.has_input() or c.deadline == 0:
                continue
            left = c.deadline - now if c.deadline > now else 0
            # One that has sent nothing yet has until its head must be there: it gets a tenth of that in any case.
            whole = c.listener.front.header_ms if left <= c.listener.front.header_ms else c.listener.front.idle_ms
            if left + whole // IDLE_SHARE <= whole or (step >= STEP_REFUSE and left > c.listener.front.header_ms):
                c.shut(False)
                n += 1
        if n:
            fl_store64(&self.line.shed, self.line.shed + n)

    def _reset(self):
        """Resets the connections that hold most memory."""
        cdef PyObject* p = self.core.client_first
        cdef ClientConnection c
        cdef uint64_t held
        found = []
        while p != NULL:
            c = <ClientConnection>p
            p = c.client_next
            held = held_bytes(c)
            if held > RESET_ABOVE:
                found.append((held, len(found), c))
        found.sort(reverse=True)
        for _, _, c in found[:RESET_AT_ONCE]:
            if c.exchange is not None:
                c.exchange.abandon(b"RD", b"memory is short: reset for what it held")
            else:
                c.shut(True)
            fl_store64(&self.line.cut, self.line.cut + 1)
        if found:
            _log.warning("overload: %d connections reset for their memory, of which the first held %d KB",
                         len(found[:RESET_AT_ONCE]), found[0][0] // 1024)


cdef uint64_t held_bytes(ClientConnection c) noexcept:
    """Bytes that are kept for a client: what it has not taken, its request, what its server has not taken."""
    cdef uint64_t n = c.out_bytes
    cdef Exchange e = c.exchange
    if e is not None:
        n += e.saved.cap if e.saved != NULL else 0
        if e.up is not None:
            n += e.up.out_bytes
    return n


cdef uint64_t resident_bytes():
    """Resident memory of this process; 0 where the kernel does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def overload_status(Region region not None, int worker):
    """(step, resource that it is short of or nearest to, pressure 0-1 of that, steps taken so far, idle connections
    ended early, connections reset) of a worker."""
    cdef HoldLine* line = &region.limits.workers[worker]
    return (line.step, RESOURCES_BY_NUMBER[line.short_of & 3], line.pressure / 1000, line.steps, line.shed, line.cut)
