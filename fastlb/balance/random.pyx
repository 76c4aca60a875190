"""Random by weight: no memory of the past, nothing shared but the weights."""

from fastlb.balance.alias cimport alias_build, alias_clear, alias_draw, fresh_seed
from fastlb.balance.options import SEED, registry


cdef class Random(Algorithm):
    """A member with probability weight / sum of weights. O(1) to pick, O(n) to build (alias table, see alias.pyx)."""

    def __init__(self, dict options, bint shared):
        Algorithm.__init__(self, options, shared)
        self._random = options["seed"] if "seed" in options else fresh_seed()

    def __dealloc__(self):
        alias_clear(&self._alias)

    cdef int rebuild(self, ServerSet servers, View* view) except -1:
        alias_build(&self._alias, view)
        self.view = view
        return 0

    cdef int pick(self, Ask* ask) noexcept:
        return alias_draw(&self._alias, &self._random)


registry["random"] = (Random, {"seed": SEED})
