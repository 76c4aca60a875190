# The last message of a frontend or backend that broke the protocol (HAProxy's `show errors`). Cold: written only where
# a message has been refused.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from fastlb.http.fields cimport HeadLimits

cdef enum:
    CAPTURE_BYTES = 1024
    CAPTURE_GAP_MS = 100        # at most one capture in this time: who sends rubbish must not make it expensive

ctypedef struct Capture:
    int64_t at_us               # wall clock
    int64_t offset              # bytes of the message before `bytes`; -1 = not known
    uint64_t length             # bytes at hand when it was refused
    uint32_t position           # of the byte that could not be, within `bytes`; `kept` when it is the end that is wrong
    uint32_t kept
    uint32_t client_len
    uint16_t client_port
    uint16_t status             # answered to the client
    bint body                   # the fault is in the body
    const char* reason          # static
    char client[48]
    char bytes[CAPTURE_BYTES]

cdef class Captured:
    cdef:
        Capture* last           # NULL = nothing yet
        uint64_t count          # faults since the start, those not captured included
        uint64_t next_ms
        bytes frontend
        bytes server            # of a response

    # True when a fault that happened now would be kept. Counts it.
    cdef bint wanted(self, uint64_t now_ms) noexcept
    # Keeps p[0:n], of which p[at] is the fault; `before` bytes of the message came before p (-1 = not known).
    cdef void keep(self, const char* p, size_t n, size_t at, int64_t before, bint body, const char* reason,
                   int64_t at_us) noexcept
    cdef void about(self, bytes frontend, bytes server, const char* client, uint32_t client_len, uint16_t client_port,
                    int status) noexcept

# Where a head that the parser refuses goes wrong: the shortest part of it that is refused, without its last byte.
# O(n log n).
cdef size_t request_fault(const char* p, size_t n, const HeadLimits* limits) noexcept
cdef size_t response_fault(const char* p, size_t n, const HeadLimits* limits, int method) noexcept
