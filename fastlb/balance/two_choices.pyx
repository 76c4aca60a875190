"""Power of two choices: of two random servers the one with fewer requests in flight for its weight. The default."""

from fastlb._core.bits cimport fl_prefetch
from fastlb.balance.alias cimport alias_build, alias_clear, alias_draw, fresh_seed
from fastlb.balance.base cimport Member, load_of
from fastlb.balance.options import SEED, registry

cdef enum:
    CACHED = 200                # servers whose memory stays near by itself
    PAIRS = 4


cdef class TwoChoices(Algorithm):
    """Two different members drawn by weight (alias table); in flight / weight decides, the first one drawn on a tie.

    O(1) to pick, O(n) to build. Needs no order among processes: the counters are the shared ones. The most loaded of n
    servers stays within ln ln n / ln 2 + O(1) of the mean (Mitzenmacher, Richa, Sitaraman: The power of two random
    choices, 2001).
    """

    def __init__(self, dict options, bint shared):
        Algorithm.__init__(self, options, shared)
        self._shared = shared
        self._random = options["seed"] if "seed" in options else fresh_seed()

    def __dealloc__(self):
        alias_clear(&self._alias)

    cdef int rebuild(self, ServerSet servers, View* view) except -1:
        cdef int k
        alias_build(&self._alias, view)
        self.view = view
        self._ahead = view.n > CACHED
        if self._ahead:
            for k in range(PAIRS):
                self._draw(&self._drawn[2 * k])
        return 0

    cdef inline int _other_than(self, int i) noexcept:
        """A second member; drawn again while it is the first, which is rare but for a weight far above the others."""
        cdef int j
        for _ in range(4):
            j = alias_draw(&self._alias, &self._random)
            if j != i:
                return j
        return i + 1 if <unsigned int>i + 1 < self.view.n else 0

    cdef void _draw(self, int* pair) noexcept:
        pair[0] = alias_draw(&self._alias, &self._random)
        pair[1] = self._other_than(pair[0]) if self.view.n > 1 else pair[0]

    cdef inline int* _pair(self) noexcept:
        """The next two to choose from.

        In a large group both would be cache misses one after the other: member, record, and what the caller keeps. So
        pairs are drawn three picks ahead, their members fetched at once and the rest one pick later.
        """
        cdef int* pair
        cdef int* later
        cdef Member* m
        if not self._ahead:
            pair = self._drawn
            self._draw(pair)
            return pair
        pair = &self._drawn[2 * (self._turn % PAIRS)]
        later = &self._drawn[2 * ((self._turn + 2) % PAIRS)]
        m = &self.view.members[later[0]]
        fl_prefetch(m.line)
        fl_prefetch(m.object)
        m = &self.view.members[later[1]]
        fl_prefetch(m.line)
        fl_prefetch(m.object)
        self._turn += 1
        later = &self._drawn[2 * ((self._turn + 2) % PAIRS)]
        # the place freed by the pair before this one
        self._draw(later)
        fl_prefetch(&self.view.members[later[0]])
        fl_prefetch(&self.view.members[later[1]])
        return pair

    cdef int pick(self, Ask* ask) noexcept:
        cdef int* pair = self._pair()
        cdef int i = pair[0], j = pair[1]
        cdef Member* a = &self.view.members[i]
        cdef Member* b = &self.view.members[j]
        if (
            <unsigned long long>load_of(b, self._shared) * a.weight
            < <unsigned long long>load_of(a, self._shared) * b.weight
        ):
            return j
        return i


registry["two_choices"] = (TwoChoices, {"seed": SEED})
