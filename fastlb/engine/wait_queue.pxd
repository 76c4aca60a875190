# A first-in-first-out queue of objects that can leave from any place in O(1). Holds no references.
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

cdef class Waiter:
    cdef:
        PyObject* queue_next
        PyObject* queue_prev

cdef class WaitQueue:
    cdef:
        PyObject* first         # oldest
        PyObject* last
        uint32_t count
    cdef void push(self, Waiter w) noexcept
    cdef void remove(self, Waiter w) noexcept
