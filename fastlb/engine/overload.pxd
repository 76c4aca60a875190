# What a worker gives up, step by step, when descriptors, memory or connections run out.
from libc.stdint cimport uint32_t, uint64_t
from fastlb._core.limit_tables cimport HoldLine
from fastlb.engine.core cimport Core

cdef enum:
    STEP_CALM = 0
    STEP_CLOSE                  # answers close their connections
    STEP_SHED                   # idle connections end early
    STEP_REFUSE                 # nothing is accepted
    STEP_RESET                  # who holds most memory is reset

cdef enum:
    SHORT_OF_NOTHING = 0
    SHORT_OF_CONNECTIONS
    SHORT_OF_DESCRIPTORS
    SHORT_OF_MEMORY
    RESOURCES

cdef class Overload:
    cdef:
        Core core
        HoldLine* line              # where the supervisor reads of it
        object region               # of the line
        double[5] marks             # pressure from which on a step is taken; 0 = it is not taken
        uint32_t most               # clients, in calm
        uint64_t descriptors        # that this process may open; 0 = not watched
        uint64_t memory             # bytes that it may have; 0 = not watched
        uint64_t resident           # as seen last
        uint64_t others             # descriptors beside those of clients and servers
        uint64_t memory_ms, files_ms    # when the two were looked at last; 0 = not yet
        int step                    # STEP_*

    cdef int _step_at(self, int what, double pressure) noexcept
