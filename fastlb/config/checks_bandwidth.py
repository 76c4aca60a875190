"""Checks of bandwidth limits: what excludes or needs each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .model import Config
from .models_bandwidth import BandwidthTable
from .paths import Path
from .structure import Finding

Wrote = Callable[[Path, str], bool]  # whether the user's table at a path holds a key


def bandwidths(config: Config, wrote: Wrote) -> Iterator[Finding]:
    """Findings in the model's own paths."""
    for name, frontend in config.frontends.items():
        owner: Path = ("frontends", name)
        yield from _all(owner, frontend.bandwidth, frontend.mode, wrote)
        for number, route in enumerate(frontend.routes):
            place: Path = (*owner, "routes", number)
            yield from _all(place, route.bandwidth, frontend.mode, wrote)
            if route.bandwidth and (route.redirect is not None or route.respond is not None):
                yield Finding((*place, "bandwidth"), "limits what servers answer; this route answers by itself")
    for name, backend in config.backends.items():
        yield from _all(("backends", name), backend.bandwidth, backend.mode, wrote)
        for index, limit in enumerate(backend.bandwidth):
            if limit.key and "route" in limit.key:
                yield Finding(("backends", name, "bandwidth", index, "key"), "a backend has no routes")


def _all(owner: Path, limits: list[BandwidthTable], mode: str, wrote: Wrote) -> Iterator[Finding]:
    if mode == "udp":
        if wrote(owner, "bandwidth"):
            yield Finding((*owner, "bandwidth"), 'is not for mode = "udp"')
        return
    for index, limit in enumerate(limits):
        place: Path = (*owner, "bandwidth", index)
        if not limit.request and not limit.response:
            yield Finding((*place, "response"), 'a rate is needed, such as response = "500KB/s"', missing=True)
        for direction in ("request", "response"):
            if wrote(place, f"{direction}_after") and not getattr(limit, direction):
                yield Finding((*place, f"{direction}_after"), f"has no effect without {direction}")
        if mode == "tcp" and limit.key and list(limit.key) != ["ip"]:
            yield Finding((*place, "key"), 'only "ip" is known of a session', "ip")
