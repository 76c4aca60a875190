"""Power of two choices: of two random servers the one with fewer requests in flight for its weight. The default."""

from fastlb.balance.alias cimport alias_build, alias_clear, alias_draw, fresh_seed
from fastlb.balance.base cimport Member, load_of
from fastlb.balance.options import SEED, registry


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
        alias_build(&self._alias, view)
        self.view = view
        return 0

    cdef inline int _other_than(self, int i) noexcept:
        """A second member; drawn again while it is the first, which is rare but for a weight far above the others."""
        cdef int j
        for _ in range(4):
            j = alias_draw(&self._alias, &self._random)
            if j != i:
                return j
        return i + 1 if <unsigned int>i + 1 < self.view.n else 0

    cdef int pick(self, Ask* ask) noexcept:
        cdef int i, j
        cdef Member* a
        cdef Member* b
        i = alias_draw(&self._alias, &self._random)
        if self.view.n == 1:
            return i
        j = self._other_than(i)
        a = &self.view.members[i]
        b = &self.view.members[j]
        if (
            <unsigned long long>load_of(b, self._shared) * a.weight
            < <unsigned long long>load_of(a, self._shared) * b.weight
        ):
            return j
        return i


registry["two_choices"] = (TwoChoices, {"seed": SEED})
