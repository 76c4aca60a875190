# The worker's event loop inside uvloop's: one epoll set, a timer wheel, deferred work, and release after the batch.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, int64_t
from cpython.object cimport PyObject
from fastlb._core.net cimport epoll_event

cdef enum:
    HANDLER_REGISTERED = 1      # the reactor owns a reference
    HANDLER_CLOSED = 2          # gets no more events; released after the batch
    HANDLER_DEFERRED = 4        # is in the list of work put off
    HANDLER_QUEUED = 8          # waits for its turn of dear work

cdef enum:
    WHEEL_SLOTS = 4096
    WHEEL_SHIFT = 5             # a tick is 32 ms, the horizon 131 s; what is later is put in again

# Handlers in the order in which they came, a reference to each; head and tail only ever grow.
cdef struct Ring:
    PyObject** items
    uint32_t head, tail
    uint32_t mask               # of the size, a power of two; nothing is allocated while items is NULL

# Anything that has a descriptor in the epoll set. Lower layers call up through these methods.
cdef class EventHandler:
    cdef:
        int fd
        uint32_t handler_flags
        uint32_t ready              # events of the batch at hand that it has not been told of yet
        # timer wheel node; owned by the reactor
        PyObject* timer_next
        PyObject** timer_pprev      # NULL = not in the wheel
        uint64_t deadline           # ms of the reactor's clock; 0 = none
        uint64_t timer_tick         # slot it is linked in
    # Descriptor events (EPOLL*). Must not raise.
    cdef void on_events(self, uint32_t events) noexcept
    # The deadline has passed.
    cdef void on_timer(self) noexcept
    # Runs after the events of the batch, when `defer` was called.
    cdef void on_deferred(self) noexcept

cdef class Reactor:
    cdef:
        int ep
        int timer_fd
        uint64_t now_us             # monotonic, read once a batch
        uint64_t now_ms
        uint64_t left_us            # when the outer loop was gone back to
        bint stays                  # waits itself where events come soon after each other
        uint32_t awaited            # who waits for something that only the outer loop tells: it does not stay then
        int64_t wall_offset_us      # wall clock - monotonic
        uint64_t tick               # last tick whose slot was emptied
        uint64_t armed_tick         # what the kernel timer is set to; 0 = not
        uint64_t timers
        bint running                # inside _run
        PyObject* wheel[WHEEL_SLOTS]
        uint64_t bitmap[WHEEL_SLOTS / 64]
        epoll_event* events
        PyObject** deferred
        uint32_t ndeferred, deferred_cap
        PyObject** retired
        uint32_t nretired, retired_cap
        readonly uint64_t batches, dispatched
        # Dear work, done a little at a time behind the events of each batch
        Ring fresh                  # begins with something
        Ring begun                  # goes on with it
        PyObject* turn              # whose turn it is right now; NULL = nobody's
    # Registers edge-triggered for in, out and hang-up; takes a reference. 0 or -1 with errno.
    cdef int add(self, EventHandler h, uint32_t events) noexcept
    # Takes the handler out for ever; the reference goes after the batch. Does not close the descriptor.
    cdef void remove(self, EventHandler h) noexcept
    cdef void arm(self, EventHandler h, uint64_t deadline_ms) noexcept
    cdef void defer(self, EventHandler h) noexcept
    # Has `on_deferred` called once the events that are there are served, in order and as the time for dear work allows:
    # `turn` is then the handler. `begun`: it goes on with what it began in an earlier turn. False = no memory. O(1).
    cdef bint queue(self, EventHandler h, bint begun) noexcept
    # Gives up a reference that the caller owns, after the batch.
    cdef void retire(self, PyObject* o) noexcept
    cdef void update_clock(self) noexcept
    cdef void _link(self, EventHandler h, uint64_t tick) noexcept
    cdef void _unlink(self, EventHandler h) noexcept
    cdef void _advance(self) noexcept
    cdef void _arm_kernel(self) noexcept
    cdef void _refile(self, EventHandler h) noexcept
    cdef void _run(self) noexcept
    cdef void _take_turns(self, uint32_t until) noexcept
    cdef void _take_turn(self, Ring* r) noexcept
    cdef void _tidy(self) noexcept
    cdef void _serve(self, int n) noexcept
    cdef void _arm_if_needed(self) noexcept
    cdef void sweep(self) noexcept

# Hot: sets or moves a deadline. A later one is only noted; the wheel looks again when the old slot comes round.
cdef inline void set_deadline(Reactor r, EventHandler h, uint64_t deadline_ms) noexcept:
    if h.timer_pprev != NULL and (deadline_ms >> WHEEL_SHIFT) + 1 >= h.timer_tick:
        h.deadline = deadline_ms
    else:
        r.arm(h, deadline_ms)

cdef inline void clear_deadline(EventHandler h) noexcept:
    h.deadline = 0
