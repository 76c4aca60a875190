# Limits of bandwidth of one direction of an exchange or session.
from libc.stdint cimport uint32_t, uint64_t
from fastlb.engine.rate_table cimport RateTable
from fastlb.engine.reactor cimport EventHandler, Reactor
from fastlb.engine.stream cimport Stream

cdef struct Pipe:
    uint64_t key                # in the table that workers share; 0 = this direction's own
    double unit_ns              # of a byte
    uint64_t tat                # own: when what was granted is paid for
    uint64_t free               # bytes that pass before this limit begins
    uint64_t paid               # of the run at hand, what was charged

cdef class Throttle(EventHandler):
    cdef:
        Reactor reactor
        RateTable* table
        object owner            # of the table
        uint64_t* counters      # of the frontend
        Pipe* pipes
        uint32_t count
        size_t credit           # bytes of the run at hand that were not read yet
        uint64_t due_ns         # when that run may begin
        Stream src, dst         # the direction while it waits; else None
        uint64_t since_us       # when it began to wait
        uint32_t waits
    # One limit more; false when memory is out. key 0: of this direction alone. first: bytes that pass before it begins.
    cdef bint add(self, uint64_t key, double unit_ns, uint64_t first) noexcept
    # Bytes that may be read from `src` now, at most `want`. 0: it is paused, and woken when it may go on.
    cdef size_t grant(self, Stream src, Stream dst, size_t want) noexcept
    # Charges bytes that have passed unasked: those behind a head.
    cdef void spend(self, size_t n) noexcept
    cdef void _begin(self, size_t run) noexcept
    cdef uint64_t _charge(self, size_t n) noexcept
    cdef void _over(self) noexcept

# Shared limits are those of `table`, which `owner` keeps; waits are counted in `counters`.
cdef Throttle throttle_new(Reactor reactor, RateTable* table, object owner, uint64_t* counters)
# Stream.receive within the limits; IO_AGAIN while they hold `src` back. `ask` false: nothing waits, but it is charged.
cdef ssize_t receive_within(Throttle t, Stream src, Stream dst, char* buf, size_t n, bint ask) noexcept

cdef inline bint holds_back(Throttle t) noexcept:
    return t is not None and t.src is not None
