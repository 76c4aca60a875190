"""The timer wheel driven from Python: for benchmarks and tests. Nothing of the engine uses it."""

from fastlb.engine.reactor cimport EventHandler, Reactor, clear_deadline, set_deadline


cdef class _Timer(EventHandler):
    cdef TimerProbe owner

    cdef void on_timer(self) noexcept:
        self.owner.fired += 1


cdef class TimerProbe:
    """`count` deadlines in a reactor of their own."""

    cdef:
        Reactor _reactor
        list _timers
        readonly int fired

    def __init__(self, int count):
        cdef _Timer timer
        self._reactor = Reactor()
        self._timers = []
        for _ in range(count):
            timer = _Timer()
            timer.owner = self
            self._timers.append(timer)

    def later(self, int rounds):
        """Moves every deadline on, as each read of a busy connection does: it is only noted. O(1) each."""
        cdef _Timer timer
        cdef int i
        for i in range(rounds):
            for timer in self._timers:
                set_deadline(self._reactor, timer, self._reactor.now_ms + 30_000 + i * 64)

    def sooner(self, int rounds):
        """Sets every deadline to an earlier slot and back, as a new request does: linked anew each time. O(1) each."""
        cdef _Timer timer
        cdef int _i
        for _i in range(rounds):
            for timer in self._timers:
                self._reactor.arm(timer, self._reactor.now_ms + 30_000)
            for timer in self._timers:
                self._reactor.arm(timer, self._reactor.now_ms + 10_000)

    def drop(self):
        """Takes every deadline back."""
        cdef _Timer timer
        for timer in self._timers:
            clear_deadline(timer)
            if timer.timer_pprev != NULL:
                self._reactor._unlink(timer)
            timer.owner = None
        self._timers.clear()
