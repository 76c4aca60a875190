"""The bounds of the histograms in /metrics: powers of two of a microsecond.

The engine counts durations in 200 fine buckets, eight to each power of two, so these bounds are bounds of fine buckets
as well: nothing is interpolated, the cumulative counts are exact. From 128 µs to 8.4 s, then 33.6 s and infinity.
"""

from __future__ import annotations

from fastlb.control.region import BUCKET_BOUNDS

POWERS = (*range(7, 24), 25)
BOUNDS_US = tuple(2**power for power in POWERS)
# The fine bucket that begins at each bound: everything below it is below the bound.
EDGES = tuple(BUCKET_BOUNDS.index(bound) + 1 for bound in BOUNDS_US)
# As floating point numbers of seconds are written in OpenMetrics
BOUNDS = tuple(repr(bound / 1e6) for bound in BOUNDS_US)
