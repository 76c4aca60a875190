"""Looks the names of servers up again while the program runs: when their time is over, and until they are found.

Names that stand for several servers too; and it sees to those of their servers that leave.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from fastlb.control.names import Answer, look_up
from fastlb.control.resolve import names_of
from fastlb.spec import Spec

log = logging.getLogger("fastlb.runtime")

RETRY = 5.0  # seconds between two look-ups of a name that was not found, at most
LOOK = 0.5  # seconds between two looks at servers that leave

Readdress = Callable[[Mapping[str, Answer]], Awaitable[None]]


class Names:
    """One task. `changed` tells that there is another configuration."""

    def __init__(
        self,
        spec: Callable[[], Spec],
        readdress: Readdress,
        answers: Mapping[str, Answer],
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        """`answers`: what the look-ups of the start came to. `leaving`: whether there are servers that leave: then
        `readdress` is called now and then, with nothing new."""
        self._spec = spec
        self._readdress = readdress
        self._leaving = leaving
        self._heard = dict(answers)
        self._due: dict[str, float] = {}
        self._failing = {name for name, answer in answers.items() if not answer.found}
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
            self._failing &= names
            now = clock()
            due = self._due
            self._due = {name: due[name] if name in due else now + self._first(spec, name) for name in names}
            wait = min(self._due.values(), default=None)
            look = now + LOOK if self._leaving() else None
            if wait is None or wait > now:
                try:
                    async with asyncio.timeout_at(min((at for at in (wait, look) if at is not None), default=None)):
                        await self._changed.wait()
                except TimeoutError:
                    if look is not None:
                        await self._readdress({})
                continue
            await self._look(spec, [name for name, due in self._due.items() if due <= now], clock)

    def _first(self, spec: Spec, name: str) -> float:
        """Seconds until a name is looked up that has not been yet, or was at the start."""
        answer = self._heard.pop(name, None)
        if answer is None:
            missing = any(s.address.host == name and not s.resolved for b in spec.backends for s in b.servers)
            return _retry(spec) if missing else self._holds(spec, -1.0)
        return self._holds(spec, answer.ttl) if answer.found else _retry(spec)

    async def _look(self, spec: Spec, names: list[str], clock: Callable[[], float]) -> None:
        limit = spec.resolver.timeout
        answers = await asyncio.gather(*(look_up(name, spec.resolver, limit) for name in names))
        found = dict(zip(names, answers, strict=True))
        now = clock()
        for name, answer in found.items():
            if answer.found:
                self._due[name] = now + self._holds(spec, answer.ttl)
                self._failing.discard(name)
            else:
                self._due[name] = now + _retry(spec)
                if name not in self._failing:
                    self._failing.add(name)
                    log.warning("%s: %s; its servers keep the addresses they have", name, answer.reason)
        await self._readdress(found)

    @staticmethod
    def _holds(spec: Spec, ttl: float) -> float:
        resolver = spec.resolver
        return min(max(ttl, resolver.min_ttl), resolver.max_ttl) if ttl >= 0 else resolver.interval


def _retry(spec: Spec) -> float:
    return min(RETRY, spec.resolver.interval)
