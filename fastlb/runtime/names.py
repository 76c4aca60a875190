"""Looks the names of servers up again while the program runs: when their time is over, and until they are found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from fastlb.control.names import Answer, look_up
from fastlb.control.resolve import names_of
from fastlb.spec import Spec

log = logging.getLogger("fastlb.runtime")

RETRY = 5.0  # seconds between two look-ups of a name that was not found

Readdress = Callable[[Mapping[str, Answer]], Awaitable[None]]


class Names:
    """One task. `changed` tells that there is another configuration."""

    def __init__(self, spec: Callable[[], Spec], readdress: Readdress, ttls: Mapping[str, float]) -> None:
        """`ttls`: names that were found at the start, and for how many seconds they hold; -1 = unknown."""
        self._spec = spec
        self._readdress = readdress
        self._ttls = dict(ttls)
        self._due: dict[str, float] = {}
        self._failing: set[str] = set()
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Never ends."""
        clock = asyncio.get_running_loop().time
        while True:
            self._changed.clear()
            spec = self._spec()
            names = names_of(spec)
            missing = {s.address.host for b in spec.backends for s in b.servers if not s.resolved}
            self._failing &= names
            now = clock()
            first = {name: now + (RETRY if name in missing else self._holds(spec, self._ttls.get(name, -1.0)))
                     for name in names}  # fmt: skip
            self._due = {name: self._due.get(name, first[name]) for name in names}
            wait = min(self._due.values(), default=None)
            if wait is None or wait > now:
                try:
                    async with asyncio.timeout(None if wait is None else wait - now):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                continue
            await self._look(spec, [name for name, due in self._due.items() if due <= now], clock)

    async def _look(self, spec: Spec, names: list[str], clock: Callable[[], float]) -> None:
        limit = spec.resolver.timeout
        answers = await asyncio.gather(*(look_up(name, spec.resolver, limit) for name in names))
        found = dict(zip(names, answers, strict=True))
        now = clock()
        for name, answer in found.items():
            if answer.addresses:
                self._due[name] = now + self._holds(spec, answer.ttl)
                self._failing.discard(name)
            else:
                self._due[name] = now + RETRY
                if name not in self._failing:
                    self._failing.add(name)
                    log.warning("%s: %s; its servers keep the addresses they have", name, answer.reason)
        await self._readdress(found)

    @staticmethod
    def _holds(spec: Spec, ttl: float) -> float:
        resolver = spec.resolver
        return min(max(ttl, resolver.min_ttl), resolver.max_ttl) if ttl >= 0 else resolver.interval
