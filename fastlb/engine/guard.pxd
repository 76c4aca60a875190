# What stands before a backend and its servers and may turn requests away: circuit breakers and the limit of requests.
from libc.stdint cimport uint32_t, uint64_t
from fastlb._core.shared cimport GroupHeld, GroupLine
from fastlb.balance.circuit_breaker cimport GroupBreaker, ServerBreakers

cdef class Guard:
    cdef:
        GroupBreaker breaker        # of the backend; None = none
        ServerBreakers servers      # None = none
        GroupLine* line             # shared
        GroupHeld* held             # this worker's part of it
        uint32_t concurrency        # requests of the backend at once, over all workers; 0 = unlimited
        bint adaptive               # so is line.limit, which moves
        bint counts                 # one of the two
        uint64_t* refused           # shared
        object owner                # of the memory
    # Lets a request in, or says why not. `entry`: what `leave` must bring back, never 0 when it was let in.
    cdef const char* enter(self, uint64_t now_ms, int priority, uint32_t* entry) noexcept
    # What stands for long, a session of layer 4, is judged by its beginning, and only counted from then on.
    cdef void settle(self, uint32_t* entry, bint failed, uint32_t latency_us, uint64_t now_ms) noexcept
    # `told`: its end says something about the backend, and that is `failed`.
    cdef void leave(self, uint32_t entry, bint told, bint failed, uint32_t latency_us, uint64_t now_ms) noexcept
    cdef uint32_t _allowed(self, int priority) noexcept
    cdef void _uncount(self) noexcept
    # Seconds that a request which was turned away, or found no server, should wait; 0 = nothing to say.
    cdef uint32_t retry_after(self, uint64_t now_ms) noexcept
