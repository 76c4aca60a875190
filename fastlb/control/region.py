"""The shared region, for the layers above control (they import nothing of `_core`)."""

from fastlb._core.region import (
    BUCKET_BOUNDS,
    DRAIN,
    DRAINING,
    EJECTED,
    FULL_RAMP,
    GAUGE_COUNTERS,
    LIMITS,
    MAINT,
    READY,
    STARTING,
    UP,
    Mark,
    Region,
    WorkerStatus,
)

__all__ = [
    "BUCKET_BOUNDS",
    "DRAIN",
    "DRAINING",
    "EJECTED",
    "FULL_RAMP",
    "GAUGE_COUNTERS",
    "LIMITS",
    "MAINT",
    "READY",
    "STARTING",
    "UP",
    "Mark",
    "Region",
    "WorkerStatus",
]
