"""Least expected response time: peak EWMA of the latency times requests waiting, under two choices.

Follows Finagle's PeakEwma: a slower answer than expected counts at once, a faster one by and by; while nothing is heard
of a server its estimate decays, so that it is tried again. One 64-bit word a server holds the estimate (float32,
microseconds) and when it was made (ms), changed by compare and swap.
"""

from libc.math cimport exp

from fastlb._core.atomics cimport fl_cas64, fl_load64
from fastlb.balance.base cimport Ask, load_of
from fastlb.balance.options import SEED, number, registry

cdef extern from *:
    """
    static inline float fl_float_of(uint32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
    static inline uint32_t fl_bits_of(float f) { uint32_t bits; memcpy(&bits, &f, 4); return bits; }
    """
    float fl_float_of(uint32_t bits) nogil
    uint32_t fl_bits_of(float f) nogil

# Load of a busy server that has never answered: beyond any latency, yet ordered by what is waiting (Finagle: 2**63 >>
# 16).
cdef double UNKNOWN = 140737488355328.0


cdef inline double _decayed(uint64_t word, uint32_t now, double decay_ms) noexcept nogil:
    """The estimate as of `now`; a clock that seems to run backwards counts as no time."""
    cdef uint32_t passed = now - <uint32_t>word
    cdef double value = fl_float_of(<uint32_t>(word >> 32))
    if passed == 0 or passed >> 31:
        return value
    return value * exp(-<double>passed / decay_ms)


cdef inline uint64_t _observed(uint64_t word, uint32_t latency_us, uint32_t now, double decay_ms) noexcept nogil:
    """The word after one more answer."""
    cdef double old = _decayed(word, now, decay_ms)
    cdef double share
    cdef uint32_t passed = now - <uint32_t>word
    if word == 0 or latency_us >= old:
        old = latency_us                # no history, or a peak
    else:
        share = 0 if passed >> 31 else 1 - exp(-<double>passed / decay_ms)
        old += latency_us * share       # old is what is left of it already
    return <uint64_t>fl_bits_of(<float>old) << 32 | now


cdef class LeastTime(TwoChoices):
    """Of two members drawn by weight the one with the smaller estimate * (in flight + 1) / weight.

    O(1) to pick and to learn. Option `decay`: seconds in which the past fades to 1/e, default 10. Source: Finagle
    PeakEwma.scala, with reads that decay as they do there.
    """

    def __init__(self, dict options, bint shared):
        TwoChoices.__init__(self, options, shared)
        self.timed = True
        self._decay_ms = options.get("decay", 10.0) * 1000

    cdef double _cost(self, Member* member, uint32_t now) noexcept:
        cdef uint64_t word = fl_load64(&member.line.latency)
        cdef uint32_t waiting = load_of(member, self._shared)
        if word == 0:
            return UNKNOWN + waiting if waiting else 0
        return _decayed(word, now, self._decay_ms) * (waiting + 1.0) / member.weight

    cdef int pick(self, Ask* ask) noexcept:
        cdef int* pair = self._pair()
        cdef int i = pair[0], j = pair[1]
        cdef uint32_t now = <uint32_t>ask.now_ms
        return j if self._cost(&self.view.members[j], now) < self._cost(&self.view.members[i], now) else i

    cdef void observe(self, ServerLine* line, uint32_t latency_us, uint64_t now_ms) noexcept:
        cdef uint64_t old
        cdef uint32_t now = <uint32_t>now_ms
        while True:
            old = fl_load64(&line.latency)
            if fl_cas64(&line.latency, old, _observed(old, latency_us, now, self._decay_ms)):
                return


def peak_ewma(list samples, double decay, double at):
    """The estimate at time `at` (s) after samples [(time s, latency us), ...]: the arithmetic above, for tests."""
    cdef uint64_t word = 0
    for time, latency in samples:
        word = _observed(word, latency, <uint32_t>(time * 1000), decay * 1000)
    return _decayed(word, <uint32_t>(at * 1000), decay * 1000)


registry["least_time"] = (LeastTime, {"seed": SEED, "decay": number(0.001, 3600)})
