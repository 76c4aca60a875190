"""Rendezvous (highest random weight) hashing: every server draws a score from the key, the best one has it.

Nothing to build, perfectly minimal movement, exact weights; but a look at every server for each pick, so for up to 64
of them. The second best is where a refused key goes.
"""

from libc.math cimport INFINITY, log
from libc.stdint cimport uint64_t

from fastlb._core.bits cimport mix64


cdef class Rendezvous(Algorithm):
    """argmax of -weight / ln(u(key, server)). O(n), nothing built.

    Source: Thaler, Ravishankar, IEEE/ACM ToN 6(1), 1998; weights: Schindelhauer, Schomaker, SPAA 2005.
    """

    def __init__(self, dict options, bint shared):
        Algorithm.__init__(self, options, shared)
        self.keyed = True

    cdef int pick(self, Ask* ask) noexcept:
        cdef double score, best_score = -1
        cdef double below = INFINITY if ask.attempt == 0 else self._refused
        cdef int32_t at = -1 if ask.attempt == 0 else self._refused_at
        cdef int32_t best = -1, i
        cdef uint64_t h
        for i in range(<int32_t>self.view.nseats):
            if self.view.seats[i].member < 0:
                continue
            h = mix64(ask.key ^ self.view.seats[i].identity)
            # u in (0, 1), 53 bits; -w / ln(u) grows with u
            score = self.view.seats[i].weight / -log((<double>(h >> 11) + 0.5) * (1.0 / 9007199254740992.0))
            if score > best_score and (score < below or (score == below and i > at)):
                best_score = score
                best = i
        self._refused = best_score
        self._refused_at = best
        return self.view.seats[best].member if best >= 0 else -1


OPTIONS = {}
