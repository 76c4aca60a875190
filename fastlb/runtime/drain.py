"""How long a stop may take."""

from __future__ import annotations

from fastlb.spec import Spec


def drain_time(spec: Spec) -> float:
    """Seconds that a stop waits for what is in flight: the longest `timeouts.drain` of any frontend."""
    return max((f.timeouts.drain for f in spec.frontends), default=0.0)
