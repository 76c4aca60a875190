"""Limits of bandwidth: how fast the bytes of one direction are read from their source.

What may not pass yet stays in the kernel, which closes the source's window: nothing is buffered here. Bytes are read in
runs. A run is charged before it is read, to each limit that holds for the direction (virtual scheduling, as of GCRA):
its place in the line is where the limit's arrival time stood, and the direction sleeps until then. Directions of one
key thus take turns, in whichever workers they are, and all of them together get the rate; a rate that only one has is
the same with an arrival time of its own. What of a run was never read is given back in the end. A timer that comes late
is made up for, so the average holds however coarse timers are.
"""

cimport cython
from libc.stdlib cimport free, realloc
from fastlb._core.xxh3 cimport xxh3_64
from fastlb.engine.holds cimport Holds
from fastlb.engine.rate_table cimport rate_back, rate_charge_after
from fastlb.engine.reactor cimport clear_deadline, set_deadline
from fastlb.engine.stats cimport COUNT_HELD_BACK, COUNT_HELD_US, private_counters
from fastlb.engine.stream cimport IO_AGAIN, STREAM_CLOSED, STREAM_PAUSED, STREAM_READABLE

cdef enum:
    RUN_NS = 64000000           # a run: two steps of the timer wheel
    SLACK_NS = 128000000        # so much that was not used is made up for
    GRACE_MS = 1000             # that a deadline leaves to who was held back


@cython.final
@cython.no_gc
cdef class Throttle(EventHandler):
    """One direction. It has no descriptor: it lives by its deadline."""

    def __dealloc__(self):
        cdef uint32_t i
        cdef Pipe* p
        if self.reactor is not None:
            self.reactor.remove(self)
        for i in range(self.count):
            p = &self.pipes[i]
            if p.key and p.paid and self.credit:
                rate_back(self.table, p.key, <uint64_t>(self.credit * p.unit_ns))
        free(self.pipes)

    cdef bint add(self, uint64_t key, double unit_ns, uint64_t first) noexcept:
        cdef Pipe* grown = <Pipe*>realloc(self.pipes, (self.count + 1) * sizeof(Pipe))
        if grown == NULL:
            return False
        self.pipes = grown
        grown[self.count].key = key
        grown[self.count].unit_ns = unit_ns
        grown[self.count].tat = 0
        grown[self.count].free = first
        grown[self.count].paid = 0
        self.count += 1
        return True

    cdef uint64_t _charge(self, size_t n) noexcept:
        """Charges n bytes to each limit; when the first of them may pass, by the last."""
        cdef uint64_t early = self.reactor.now_us * 1000 - SLACK_NS
        cdef uint64_t at, start = 0, cost
        cdef uint32_t i
        cdef Pipe* p
        for i in range(self.count):
            p = &self.pipes[i]
            if p.free >= n:
                p.free -= n
                p.paid = 0
                continue
            p.paid = n - p.free
            p.free = 0
            cost = <uint64_t>(p.paid * p.unit_ns)
            if p.key:
                at = rate_charge_after(self.table, p.key, early, cost)
            else:
                at = max(p.tat, early)
                p.tat = at + cost
            start = max(start, at)
        return start

    cdef void _begin(self, size_t run) noexcept:
        """Takes a place in the line for the next run, of so many bytes at most."""
        cdef uint32_t i
        cdef double most
        cdef Pipe* p
        for i in range(self.count):
            p = &self.pipes[i]
            most = <double>p.free if p.free else RUN_NS / p.unit_ns
            if most < run:
                run = <size_t>most if most >= 1 else 1
        self.due_ns = self._charge(run)
        self.credit = run

    cdef size_t grant(self, Stream src, Stream dst, size_t want) noexcept:
        if self.credit == 0:
            self._begin(want)
        if self.due_ns > self.reactor.now_us * 1000:
            src.stream_flags |= STREAM_PAUSED
            if self.src is None:
                self.since_us = self.reactor.now_us
                if self.waits == 0:
                    self.counters[COUNT_HELD_BACK] += 1
                self.waits += 1
            self.src = src              # after a further attempt another one than before
            self.dst = dst
            set_deadline(self.reactor, self, self.due_ns // 1000000 + 1)
            return 0
        if self.src is not None:
            self._over()                # woken by the other side before the timer had come
        return want if want < self.credit else self.credit

    cdef void _over(self) noexcept:
        clear_deadline(self)
        self.src = self.dst = None
        self.counters[COUNT_HELD_US] += self.reactor.now_us - self.since_us

    cdef void spend(self, size_t n) noexcept:
        if n <= self.credit:
            self.credit -= n
            return
        n -= self.credit
        self.credit = 0
        self._charge(n)

    def ask(self, double now, size_t most):
        """(bytes read at `now`, in seconds, of which there are so many; when more may be read). For tests."""
        cdef size_t n = 0
        self.reactor.now_us = <uint64_t>(now * 1e6)
        if self.credit == 0:
            self._begin(most)
        if self.due_ns <= self.reactor.now_us * 1000:
            n = min(most, self.credit)
            self.spend(n)
        return n, self.due_ns / 1e9

    cdef void on_timer(self) noexcept:
        cdef Stream src = self.src
        cdef Stream dst = self.dst
        if src is None:
            return
        self._over()
        if dst is None or (src.stream_flags | dst.stream_flags) & STREAM_CLOSED:
            return
        if src.deadline and src.deadline < self.reactor.now_ms + GRACE_MS:
            set_deadline(self.reactor, src, self.reactor.now_ms + GRACE_MS)
        if dst.out != NULL:
            return                      # who waits for the other side is woken when that has taken what there is
        src.stream_flags &= ~STREAM_PAUSED
        if src.stream_flags & STREAM_READABLE:
            self.reactor.defer(src)


cdef ssize_t receive_within(Throttle t, Stream src, Stream dst, char* buf, size_t n, bint ask) noexcept:
    cdef ssize_t got
    if ask:
        n = t.grant(src, dst, n)
        if n == 0:
            return IO_AGAIN
    got = src.receive(buf, n)
    if got > 0:
        t.spend(<size_t>got)
    return got


def trial_throttle(limits, Holds holds not None):
    """A Throttle by itself; limits: (name of the key or "", bytes a second, bytes that pass first). For tests."""
    cdef Throttle t = throttle_new(Reactor(), &holds.table, holds, private_counters())
    cdef bytes raw
    for name, rate, first in limits:
        raw = name.encode()
        t.add(xxh3_64(<const char*>raw, len(raw)) | 1 if raw else 0, 1e9 / rate, first)
    return t


cdef Throttle throttle_new(Reactor reactor, RateTable* table, object owner, uint64_t* counters):
    cdef Throttle t = Throttle.__new__(Throttle)
    t.fd = -1
    t.reactor = reactor
    t.table = table
    t.owner = owner
    t.counters = counters
    return t
