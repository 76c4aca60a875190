"""The shared region, for the layers above control (they import nothing of `_core`)."""

from fastlb._core.histogram import BUCKET_BOUNDS, Mark
from fastlb._core.region import (
    DRAIN,
    DRAINING,
    EJECTED,
    FULL_RAMP,
    GAUGE_COUNTERS,
    LIMITS,
    MAINT,
    OPEN,
    READY,
    STARTING,
    TRIAL,
    UP,
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
    "OPEN",
    "READY",
    "STARTING",
    "TRIAL",
    "UP",
    "Mark",
    "Region",
    "WorkerStatus",
]
