"""A first-in-first-out queue that its members can leave from any place. Who waits stays alive by its own reference."""

cimport cython


cdef class Waiter:
    """Something that can stand in one queue."""


@cython.final
cdef class WaitQueue:
    """Doubly linked through its members."""

    cdef void push(self, Waiter w) noexcept:
        w.queue_next = NULL
        w.queue_prev = self.last
        if self.last != NULL:
            (<Waiter>self.last).queue_next = <PyObject*>w
        else:
            self.first = <PyObject*>w
        self.last = <PyObject*>w
        self.count += 1

    cdef void remove(self, Waiter w) noexcept:
        if w.queue_prev != NULL:
            (<Waiter>w.queue_prev).queue_next = w.queue_next
        else:
            self.first = w.queue_next
        if w.queue_next != NULL:
            (<Waiter>w.queue_next).queue_prev = w.queue_prev
        else:
            self.last = w.queue_prev
        w.queue_next = NULL
        w.queue_prev = NULL
        self.count -= 1
