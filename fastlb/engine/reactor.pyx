"""The worker's event loop inside uvloop's.

One epoll set whose own descriptor is a reader on uvloop's loop: `loop.add_reader(reactor.fileno(), reactor.run_ready)`.
One call drains a batch of events into cdef methods through the vtable, so uvloop's cost is paid once a batch. Every
descriptor is registered once, edge-triggered. Handlers closed in a batch stay alive until its end, so an event that
the kernel had already reported for one of them finds an object that ignores it.

The timer wheel (Varghese and Lauck, SOSP 1987, scheme 6) has one level of 4,096 slots of 32 ms. Moving a deadline
further out, which a busy connection does all the time, only stores a number; the wheel re-files the handler when the
slot it is in comes round.

Dear work (a signature of a TLS handshake takes as long as dozens of events) waits in two queues, and gets its turns
behind the events of each batch: DEAR_US in all, or half of what the events took where that is more, at most
DEAR_MOST_US; always one of each queue. As long as some is left the reactor looks for events again, without a return to
uvloop's loop for up to LOOP_US. Where events come soon after each other, and the loop is a worker's own (`stay`), it
waits for them itself as long.
"""

import os

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_DECREF
from fastlb._core.net cimport errno
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset
from fastlb._core.net cimport (
    CLOCK_MONOTONIC, CLOCK_REALTIME, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN, TFD_CLOEXEC, TFD_NONBLOCK,
    TFD_TIMER_ABSTIME, clock_gettime, close, epoll_create1, epoll_ctl, epoll_event, epoll_wait, itimerspec, read,
    timerfd_create, timerfd_settime, timespec)

cdef extern from *:
    """
    static inline int fl_ctz64(unsigned long long x) { return __builtin_ctzll(x); }
    """
    int fl_ctz64(unsigned long long x) noexcept nogil

cdef enum:
    BATCH = 256
    DEAR_US = 200               # of dear work between two looks at the events
    DEAR_MOST_US = 1000
    LOOP_US = 2000              # the control side waits no longer than this, one batch and WAIT_MS
    CLOSE_BY_US = 400           # events that follow each other so soon are waited for here
    WAIT_MS = 10                # longer than a tick of the kernel: a nearer timer costs more than it saves
    RING_SIZE = 64              # at first

cdef uint64_t clock_us() noexcept:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000 + <uint64_t>t.tv_nsec // 1000


cdef bint ring_grow(Ring* r) noexcept:
    cdef uint32_t size = (r.mask + 1) * 2 if r.items != NULL else RING_SIZE
    cdef uint32_t i
    cdef PyObject** grown = <PyObject**>malloc(size * sizeof(PyObject*))
    if grown == NULL:
        return False
    for i in range(r.tail - r.head):
        grown[(r.head + i) & (size - 1)] = r.items[(r.head + i) & r.mask]
    free(r.items)
    r.items = grown
    r.mask = size - 1
    return True


cdef void ring_clear(Ring* r) noexcept:
    while r.head != r.tail:
        Py_DECREF(<object>r.items[r.head & r.mask])
        r.head += 1
    free(r.items)


cdef void drop_closed(Ring* r) noexcept:
    while r.head != r.tail and (<EventHandler>r.items[r.head & r.mask]).handler_flags & HANDLER_CLOSED:
        Py_DECREF(<object>r.items[r.head & r.mask])
        r.head += 1


cdef bint _forked = False       # this process has forked a child that may live on with copies of its descriptors


def _note_fork():
    global _forked
    _forked = True


os.register_at_fork(after_in_parent=_note_fork)


cdef class EventHandler:
    """Base of everything with a descriptor in the epoll set."""

    cdef void on_events(self, uint32_t events) noexcept:
        pass

    cdef void on_timer(self) noexcept:
        pass

    cdef void on_deferred(self) noexcept:
        pass


cdef class Reactor:
    """Event loop of one worker. Not thread-safe: it belongs to the thread that runs the loop."""

    def __cinit__(self):
        cdef epoll_event ev
        self.timer_fd = -1
        self.ep = epoll_create1(EPOLL_CLOEXEC)
        if self.ep < 0:
            raise OSError(errno, "epoll_create1")
        self.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.timer_fd < 0:
            raise OSError(errno, "timerfd_create")
        memset(&ev, 0, sizeof(ev))
        ev.events = EPOLLIN
        ev.data.ptr = NULL
        if epoll_ctl(self.ep, EPOLL_CTL_ADD, self.timer_fd, &ev) < 0:
            raise OSError(errno, "epoll_ctl")
        self.events = <epoll_event*>calloc(BATCH, sizeof(epoll_event))
        if self.events == NULL:
            raise MemoryError
        self.update_clock()
        self.tick = self.now_ms >> WHEEL_SHIFT

    def __dealloc__(self):
        if self.ep >= 0:
            close(self.ep)
        if self.timer_fd >= 0:
            close(self.timer_fd)
        free(self.events)
        free(self.deferred)
        free(self.retired)
        ring_clear(&self.fresh)
        ring_clear(&self.begun)

    def fileno(self):
        """Descriptor to watch for reading."""
        return self.ep

    def run_ready(self):
        """Handles what is ready. Called by the loop when `fileno()` is readable."""
        self._run()

    def stay(self):
        """From now on waits itself where events come soon after each other, for at most 12 ms at a time.

        For a loop that serves this reactor and little else: what else there is waits meanwhile.
        """
        self.stays = True

    def settle(self):
        """Runs deferred work and releases what was closed outside a batch; for the control side."""
        self.update_clock()
        drop_closed(&self.fresh)        # at the end of a worker all of them
        drop_closed(&self.begun)
        self.sweep()

    cdef void update_clock(self) noexcept:
        cdef timespec t
        cdef timespec w
        clock_gettime(CLOCK_MONOTONIC, &t)
        clock_gettime(CLOCK_REALTIME, &w)
        self.now_us = <uint64_t>t.tv_sec * 1000000 + <uint64_t>t.tv_nsec // 1000
        self.now_ms = self.now_us // 1000
        self.wall_offset_us = (<int64_t>w.tv_sec * 1000000 + w.tv_nsec // 1000) - <int64_t>self.now_us

    cdef void _run(self) noexcept:
        cdef int n = epoll_wait(self.ep, self.events, BATCH, 0)
        cdef uint64_t came
        cdef bint close_by
        self.running = True
        self._serve(n)
        came = self.now_us
        close_by = self.stays and came - self.left_us < CLOSE_BY_US
        while self.now_us - came < LOOP_US:
            if self.fresh.head != self.fresh.tail or self.begun.head != self.begun.tail:
                n = epoll_wait(self.ep, self.events, BATCH, 0)
            elif close_by and n > 0 and self.awaited == 0:
                # Each way through the outer loop is a system call more and a call of Python's. Where little comes at a
                # time, but one thing soon after the other, that is as much as the work itself.
                self._arm_if_needed()
                with nogil:
                    n = epoll_wait(self.ep, self.events, BATCH, WAIT_MS)
                if n <= 0:
                    self.update_clock()
                    break
            else:
                break
            self._serve(n)
        self._arm_if_needed()
        self.left_us = self.now_us
        self.running = False

    cdef void _serve(self, int n) noexcept:
        cdef int i
        cdef PyObject* p
        cdef EventHandler h
        cdef uint64_t expirations
        # Who came before this look at the events has been heard since: that it has left, say.
        cdef uint32_t known = self.fresh.tail
        self.update_clock()
        self.batches += 1
        for i in range(n):
            p = <PyObject*>self.events[i].data.ptr
            if p != NULL:
                (<EventHandler>p).ready = self.events[i].events
        for i in range(n):
            p = <PyObject*>self.events[i].data.ptr
            if p == NULL:
                read(self.timer_fd, &expirations, sizeof(expirations))
                self.armed_tick = 0
                continue
            h = <EventHandler>p
            h.ready = 0
            if h.handler_flags & HANDLER_CLOSED:
                continue
            h.on_events(self.events[i].events)
        if n > 0:
            self.dispatched += <uint64_t>n
        if self.fresh.head != known or self.begun.head != self.begun.tail:
            self._take_turns(known)
        self._tidy()

    cdef bint queue(self, EventHandler h, bint begun) noexcept:
        cdef Ring* r = &self.begun if begun else &self.fresh
        if h.handler_flags & (HANDLER_QUEUED | HANDLER_CLOSED):
            return True
        if r.tail - r.head == r.mask + (r.items != NULL) and not ring_grow(r):
            return False
        h.handler_flags |= HANDLER_QUEUED
        Py_INCREF(h)
        r.items[r.tail & r.mask] = <PyObject*>h
        r.tail += 1
        return True

    cdef void _take_turns(self, uint32_t until) noexcept:
        cdef uint64_t now = clock_us()
        cdef uint64_t most = (now - self.now_us) // 2
        cdef uint64_t end
        if most < DEAR_US:
            most = DEAR_US
        elif most > DEAR_MOST_US:
            most = DEAR_MOST_US
        # What has begun goes first, for its client has waited already; but never all of the time.
        end = now + most // 2
        while self.begun.head != self.begun.tail and now < end:
            self._take_turn(&self.begun)
            now = clock_us()
        end += most - most // 2
        if now >= end:
            end = now + 1
        while self.fresh.head != until and now < end:
            self._take_turn(&self.fresh)
            now = clock_us()

    cdef void _take_turn(self, Ring* r) noexcept:
        cdef EventHandler h = <EventHandler>r.items[r.head & r.mask]
        Py_DECREF(h)                    # h itself keeps it
        r.head += 1
        h.handler_flags &= ~<uint32_t>HANDLER_QUEUED
        if not h.handler_flags & HANDLER_CLOSED:
            self.turn = <PyObject*>h
            h.on_deferred()
            self.turn = NULL

    cdef void sweep(self) noexcept:
        self._tidy()
        self._arm_if_needed()

    cdef void _arm_if_needed(self) noexcept:
        if self.ndeferred or self.fresh.head != self.fresh.tail or self.begun.head != self.begun.tail:
            self._arm_kernel()
        elif self.timers and self.armed_tick == 0:
            self._arm_kernel()

    cdef void _tidy(self) noexcept:
        cdef uint32_t i, n
        cdef PyObject* p
        cdef EventHandler h
        # Work put off during this pass waits for the next one: a handler that keeps deferring cannot starve the rest.
        n = self.ndeferred
        if n:
            for i in range(n):
                h = <EventHandler>self.deferred[i]
                h.handler_flags &= ~<uint32_t>HANDLER_DEFERRED
                if not h.handler_flags & HANDLER_CLOSED:
                    h.on_deferred()
                Py_DECREF(h)
            self.ndeferred -= n
            for i in range(self.ndeferred):
                self.deferred[i] = self.deferred[n + i]
        if self.timers:
            if (self.now_ms >> WHEEL_SHIFT) > self.tick:
                self._advance()
        else:
            self.tick = self.now_ms >> WHEEL_SHIFT
        while self.nretired:
            self.nretired -= 1
            p = self.retired[self.nretired]
            Py_DECREF(<object>p)

    cdef int add(self, EventHandler h, uint32_t events) noexcept:
        cdef epoll_event ev
        ev.events = events
        ev.data.ptr = <void*>h
        if epoll_ctl(self.ep, EPOLL_CTL_ADD, h.fd, &ev) < 0:
            return -1
        h.handler_flags |= HANDLER_REGISTERED
        Py_INCREF(h)
        return 0

    cdef void remove(self, EventHandler h) noexcept:
        if h.handler_flags & HANDLER_CLOSED:
            return
        h.handler_flags |= HANDLER_CLOSED
        if h.timer_pprev != NULL:
            self._unlink(h)
        h.deadline = 0
        if h.handler_flags & HANDLER_REGISTERED:
            # The caller closes the descriptor at once, which takes it out of the epoll set without a call of ours,
            # unless a forked child holds a copy: then events would go on to arrive for a handler that is gone.
            if _forked and h.fd >= 0:
                epoll_ctl(self.ep, EPOLL_CTL_DEL, h.fd, NULL)
            self.retire(<PyObject*>h)

    cdef void retire(self, PyObject* o) noexcept:
        cdef PyObject** grown
        if self.nretired == self.retired_cap:
            grown = <PyObject**>realloc(self.retired, (self.retired_cap * 2 + 64) * sizeof(PyObject*))
            if grown == NULL:
                return          # out of memory: leak one object rather than free it under its users
            self.retired = grown
            self.retired_cap = self.retired_cap * 2 + 64
        self.retired[self.nretired] = o
        self.nretired += 1

    cdef void defer(self, EventHandler h) noexcept:
        cdef PyObject** grown
        if h.handler_flags & (HANDLER_DEFERRED | HANDLER_CLOSED):
            return
        if self.ndeferred == self.deferred_cap:
            grown = <PyObject**>realloc(self.deferred, (self.deferred_cap * 2 + 64) * sizeof(PyObject*))
            if grown == NULL:
                return
            self.deferred = grown
            self.deferred_cap = self.deferred_cap * 2 + 64
        h.handler_flags |= HANDLER_DEFERRED
        # Closed before its turn comes, it would be released at the end of this pass and met again in the next.
        Py_INCREF(h)
        self.deferred[self.ndeferred] = <PyObject*>h
        self.ndeferred += 1

    cdef void arm(self, EventHandler h, uint64_t deadline_ms) noexcept:
        cdef uint64_t tick = (deadline_ms >> WHEEL_SHIFT) + 1
        if h.handler_flags & HANDLER_CLOSED:
            return              # the wheel holds no references: it would meet the handler after its release
        h.deadline = deadline_ms
        if tick <= self.tick:
            tick = self.tick + 1
        elif tick - self.tick >= WHEEL_SLOTS:
            tick = self.tick + WHEEL_SLOTS - 1
        if h.timer_pprev != NULL:
            if h.timer_tick == tick:
                return
            self._unlink(h)
        self._link(h, tick)
        if self.armed_tick == 0 or tick < self.armed_tick:
            self.armed_tick = 0
            if not self.running:        # else the sweep does, once
                self._arm_kernel()

    cdef void _link(self, EventHandler h, uint64_t tick) noexcept:
        cdef uint32_t slot = <uint32_t>(tick & (WHEEL_SLOTS - 1))
        cdef PyObject* first = self.wheel[slot]
        h.timer_tick = tick
        h.timer_next = first
        h.timer_pprev = &self.wheel[slot]
        if first != NULL:
            (<EventHandler>first).timer_pprev = &h.timer_next
        self.wheel[slot] = <PyObject*>h
        self.bitmap[slot >> 6] |= (<uint64_t>1) << (slot & 63)
        self.timers += 1

    cdef void _unlink(self, EventHandler h) noexcept:
        cdef uint32_t slot = <uint32_t>(h.timer_tick & (WHEEL_SLOTS - 1))
        h.timer_pprev[0] = h.timer_next
        if h.timer_next != NULL:
            (<EventHandler>h.timer_next).timer_pprev = h.timer_pprev
        h.timer_next = NULL
        h.timer_pprev = NULL
        if self.wheel[slot] == NULL:
            self.bitmap[slot >> 6] &= ~((<uint64_t>1) << (slot & 63))
        self.timers -= 1

    cdef void _advance(self) noexcept:
        cdef uint64_t target = self.now_ms >> WHEEL_SHIFT
        cdef uint64_t tick = self.tick
        cdef uint32_t slot
        cdef EventHandler h
        if target - tick > WHEEL_SLOTS:
            tick = target - WHEEL_SLOTS     # the process slept longer than the horizon: look at every slot once
        while tick < target:
            tick += 1
            self.tick = tick
            slot = <uint32_t>(tick & (WHEEL_SLOTS - 1))
            while self.wheel[slot] != NULL:
                h = <EventHandler>self.wheel[slot]
                self._unlink(h)
                if h.deadline == 0:
                    continue
                if h.deadline <= self.now_ms:
                    h.deadline = 0
                    h.on_timer()
                else:
                    self._refile(h)

    cdef void _arm_kernel(self) noexcept:
        cdef uint64_t tick, at
        cdef uint32_t slot, word, _i
        cdef uint64_t bits
        cdef itimerspec spec
        memset(&spec, 0, sizeof(spec))
        if self.ndeferred or self.fresh.head != self.fresh.tail or self.begun.head != self.begun.tail:
            # Work is waiting: come back at once, through the loop, so that other events get their turn.
            spec.it_value.tv_nsec = 1
            self.armed_tick = self.tick + 1
            timerfd_settime(self.timer_fd, TFD_TIMER_ABSTIME, &spec, NULL)
            return
        if self.timers == 0:
            return
        tick = self.tick + 1
        slot = <uint32_t>(tick & (WHEEL_SLOTS - 1))
        word = slot >> 6
        bits = self.bitmap[word] & ~(((<uint64_t>1) << (slot & 63)) - 1)
        for _i in range(WHEEL_SLOTS // 64 + 1):
            if bits:
                tick += ((word << 6) + <uint32_t>fl_ctz64(bits) - slot) & (WHEEL_SLOTS - 1)
                break
            word = (word + 1) & (WHEEL_SLOTS // 64 - 1)
            bits = self.bitmap[word]
        at = tick << WHEEL_SHIFT
        spec.it_value.tv_sec = <long>(at // 1000)
        spec.it_value.tv_nsec = <long>(at % 1000) * 1000000
        self.armed_tick = tick
        timerfd_settime(self.timer_fd, TFD_TIMER_ABSTIME, &spec, NULL)

    cdef void _refile(self, EventHandler h) noexcept:
        cdef uint64_t tick = (h.deadline >> WHEEL_SHIFT) + 1
        if tick - self.tick >= WHEEL_SLOTS:
            tick = self.tick + WHEEL_SLOTS - 1
        self._link(h, tick)
