"""A queue by class and then by age, that its members can leave from any place. Who waits lives by its own reference.

Each worker has its own, and the limit counts all of them: who joins is counted first and taken back when that was one
too many. Each also says in shared memory since when its oldest has waited. A worker whose server has become free gives
it to its own waiters, unless another worker's oldest has waited for longer by more than two looks of that worker: it
then leaves the server to it. So none of them waits much longer because of where it arrived, and few servers stand idle
for it.
"""

cimport cython
from libc.stdlib cimport calloc, free
from fastlb._core.atomics cimport fl_add32, fl_load32, fl_load64, fl_store32, fl_store64, fl_sub32_floor

cdef enum:
    UNFAIR_MS = 64              # two looks of QueueSweeper


cdef class Waiter:
    """Something that can stand in one queue."""

    def __cinit__(self):
        self.priority = PRIORITY_NORMAL


@cython.final
cdef class WaitQueue:
    """Doubly linked through its members, a list a class."""

    def __cinit__(self):
        # Stand-ins where there is no shared region.
        self.line = self.own_line = <GroupLine*>calloc(1, sizeof(GroupLine))
        self.held = self.own_held = <GroupHeld*>calloc(1, sizeof(GroupHeld))
        if self.line == NULL or self.held == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.own_line)
        free(self.own_held)

    cdef bint enter(self, Waiter w, uint64_t now_ms) noexcept:
        cdef int c = w.priority
        # The ledger first: a worker killed in between leaves one too many there, which reaping tolerates.
        fl_store32(&self.held.queued, self.held.queued + 1)
        if fl_add32(&self.line.queued, 1) >= self.limit and self.limit:
            fl_sub32_floor(&self.line.queued, 1)
            fl_store32(&self.held.queued, self.held.queued - 1)
            return False
        w.queued_ms = now_ms
        w.queue_next = NULL
        w.queue_prev = self.last[c]
        if self.last[c] != NULL:
            (<Waiter>self.last[c]).queue_next = <PyObject*>w
        else:
            self.first[c] = <PyObject*>w
            self._note_oldest()
        self.last[c] = <PyObject*>w
        self.count += 1
        return True

    cdef void remove(self, Waiter w) noexcept:
        cdef int c = w.priority
        cdef bint was_first = w.queue_prev == NULL
        if w.queue_prev != NULL:
            (<Waiter>w.queue_prev).queue_next = w.queue_next
        else:
            self.first[c] = w.queue_next
        if w.queue_next != NULL:
            (<Waiter>w.queue_next).queue_prev = w.queue_prev
        else:
            self.last[c] = w.queue_prev
        w.queue_next = NULL
        w.queue_prev = NULL
        self.count -= 1
        fl_sub32_floor(&self.line.queued, 1)
        if self.held.queued:
            fl_store32(&self.held.queued, self.held.queued - 1)
        if was_first:
            self._note_oldest()

    cdef PyObject* head(self) noexcept:
        cdef int c
        for c in range(CLASSES):
            if self.first[c] != NULL:
                return self.first[c]
        return NULL

    cdef PyObject* lowest(self, int priority) noexcept:
        cdef int c
        for c in range(CLASSES - 1, priority, -1):
            if self.last[c] != NULL:
                return self.last[c]
        return NULL

    cdef bint ahead(self, int priority) noexcept:
        cdef int c
        for c in range(priority + 1):
            if self.first[c] != NULL:
                return True
        return False

    cdef bint yields(self) noexcept:
        cdef uint32_t i
        cdef uint64_t mine = fl_load64(&self.held.oldest_ms)
        cdef uint64_t other
        if self.rows == NULL or mine == 0:
            return False
        for i in range(fl_load32(self.workers)):
            other = fl_load64(&self.rows[<size_t>i * self.stride].oldest_ms)
            if other and other + UNFAIR_MS < mine:
                return True
        return False

    cdef void _note_oldest(self) noexcept:
        cdef uint64_t oldest = 0, since
        cdef int c
        for c in range(CLASSES):
            if self.first[c] != NULL:
                since = (<Waiter>self.first[c]).queued_ms
                if oldest == 0 or since < oldest:
                    oldest = since
        fl_store64(&self.held.oldest_ms, oldest)
