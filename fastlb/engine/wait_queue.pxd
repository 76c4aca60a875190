# A queue by class and then by age, of objects that can leave from any place in O(1). Holds no references.
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastlb._core.shared cimport GroupHeld, GroupLine

cdef enum:
    CLASSES = 3                 # high, normal, low

cdef enum Priority:
    PRIORITY_HIGH = 0
    PRIORITY_NORMAL = 1
    PRIORITY_LOW = 2

cdef class Waiter:
    cdef:
        PyObject* queue_next
        PyObject* queue_prev
        uint64_t queued_ms      # since when
        uint8_t priority        # Priority

cdef class WaitQueue:
    cdef:
        # a list a class, oldest first
        PyObject* first[CLASSES]
        PyObject* last[CLASSES]
        uint32_t count          # of this worker
        uint32_t limit          # over all workers; 0 = unlimited
        GroupLine* line         # shared
        GroupHeld* rows         # of worker 0; `stride` apart; NULL = there are no others
        GroupHeld* held         # this worker's
        uint32_t stride
        const uint32_t* workers     # rows in use
        object owner            # of the memory
        GroupLine* own_line     # the queue's own, where there is no shared region
        GroupHeld* own_held
    # Joins at the end of its class. False when that would be one too many over all workers.
    cdef bint enter(self, Waiter w, uint64_t now_ms) noexcept
    cdef void remove(self, Waiter w) noexcept
    # Who is next: the oldest of the highest class; NULL when nobody waits.
    cdef PyObject* head(self) noexcept
    # The youngest of the lowest class below `priority`; NULL when there is none.
    cdef PyObject* lowest(self, int priority) noexcept
    # Whether somebody waits who goes before a newcomer of this class.
    cdef bint ahead(self, int priority) noexcept
    # Whether another worker's oldest has waited so much longer than ours that it gets the next server. O(workers).
    cdef bint yields(self) noexcept
    cdef void _note_oldest(self) noexcept
