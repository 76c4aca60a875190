"""Checks of rate limits: what excludes or needs each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

from .model import Config
from .models_rates import RateLimitTable
from .paths import Path
from .structure import Finding

Wrote = Callable[[Path, str], bool]  # whether the user's table at a path holds a key

MAX_BURST = 1_000_000  # requests or connections
MAX_BYTES = 2**32 - 2


def rates(config: Config, wrote: Wrote) -> Iterator[Finding]:
    """Findings in the model's own paths."""
    if config.redis.url and find_spec("redis") is None:
        yield Finding(("redis", "url"), "needs the package redis: pip install fastlb[redis]")
    for name, frontend in config.frontends.items():
        owner: Path = ("frontends", name)
        for index, limit in enumerate(frontend.rate_limits):
            yield from _limit((*owner, "rate_limits", index), limit, wrote)
            yield from _shared(config, (*owner, "rate_limits", index), limit, wrote)
        for number, route in enumerate(frontend.routes):
            for index, limit in enumerate(route.rate_limits):
                place: Path = (*owner, "routes", number, "rate_limits", index)
                yield from _limit(place, limit, wrote)
                yield from _shared(config, place, limit, wrote)
                if limit.of == "connections":
                    yield Finding((*place, "of"), "a connection has no route yet: limit those of the frontend")


def _shared(config: Config, place: Path, limit: RateLimitTable, wrote: Wrote) -> Iterator[Finding]:
    if not limit.shared:
        return
    if limit.concurrent:
        yield Finding((*place, "shared"), "is for rates: requests at once are counted by each node")
    elif not config.redis.url and not wrote(("redis",), "url"):
        yield Finding((*place, "shared"), "needs redis.url: where the nodes meet")


def _limit(place: Path, limit: RateLimitTable, wrote: Wrote) -> Iterator[Finding]:
    if limit.rate is None and not limit.concurrent:
        if not wrote(place, "rate") and not wrote(place, "concurrent"):
            yield Finding((*place, "rate"), 'this key is needed, such as "10/s", or concurrent', missing=True)
        return
    if limit.rate is not None and limit.concurrent:
        yield Finding((*place, "concurrent"), "excludes rate: make them two limits")
        return
    counted = limit.counted
    if wrote(place, "of") and limit.rate is not None and limit.rate.sized and limit.of != "bytes":
        yield Finding((*place, "rate"), f"bytes are no rate of {limit.of}")
    if counted == "concurrent" and wrote(place, "burst"):
        yield Finding((*place, "burst"), "has no meaning beside concurrent")
    if counted == "concurrent" and wrote(place, "of"):
        yield Finding((*place, "of"), "concurrent counts requests")
    most = MAX_BYTES if counted == "bytes" else MAX_BURST
    if limit.burst > most:
        yield Finding((*place, "burst"), f"must be at most {most}", str(most))
    if counted == "connections" and limit.key and list(limit.key) != ["ip"]:
        yield Finding((*place, "key"), 'only "ip" is known of a new connection')
