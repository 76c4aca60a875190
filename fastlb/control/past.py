"""What the processes before this one have counted, so that counters go on where a program is replaced while it runs.

The process that hands over sends its counters when it has stopped to show them, and again while it finishes what is in
flight. They are kept here beside the region's own, and readers add the two: a total never goes back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from fastlb.control import counters
from fastlb.control.ladder import BOUNDS_US, EDGES
from fastlb.control.region import GAUGE_COUNTERS, Region
from fastlb.control.slots import Assignment, Fresh
from fastlb.spec import Address

HISTOGRAMS: Final = 4
# Of two versions of fastlb with another one nothing is taken over: the counters begin anew, which their readers see.
LAYOUT: Final = [list(counters.NAMES), list(BOUNDS_US)]
# What is true now, or was the most at once, is not added up.
_LEFT_OUT = frozenset((*GAUGE_COUNTERS, counters.PEAK, counters.QUEUE_PEAK))

Kind = Literal["frontend", "group", "server"]
Key = tuple[str, int]  # frontend, group or server; index in the region


class Past:
    """Of one supervisor; empty unless it has taken over."""

    def __init__(self) -> None:
        self._totals: dict[Key, list[int]] = {}
        self._ladders: dict[Key, list[list[int]]] = {}
        self.reloads = 0

    def totals(self, kind: str, index: int, own: list[int]) -> list[int]:
        """`own` counters of this process, and those before."""
        before = self._totals.get((kind, index))
        return own if before is None else [a + b for a, b in zip(own, before, strict=True)]

    def ladder(self, kind: str, index: int, which: int, own: list[int]) -> list[int]:
        """The same of a histogram's cumulative counts (`Region.ladder` over `EDGES`)."""
        before = self._ladders.get((kind, index))
        return own if before is None else [a + b for a, b in zip(own, before[which], strict=True)]

    def forget(self, assignment: Assignment, fresh: Fresh) -> None:
        """The indices of `fresh` are others' from now on."""
        if self._totals:
            keys = [
                *(("frontend", assignment.frontends[name]) for name in fresh.frontends),
                *(("group", assignment.backends[name]) for name in fresh.backends),
                *(("server", assignment.servers[server]) for server in fresh.servers),
            ]
            for key in keys:
                self._totals.pop(key, None)
                self._ladders.pop(key, None)

    def take(self, told: Mapping[str, Any], assignment: Assignment) -> bool:
        """What a `Teller` has told; false when it counts otherwise. What is not configured here is left out."""
        if told["layout"] != LAYOUT:
            return False
        self.reloads = int(told["reloads"])
        for kind, name, address, totals, ladders in told["counts"]:
            index = _index(assignment, kind, name, address)
            if index is not None:
                self._totals[kind, index] = [int(n) for n in totals]
                self._ladders[kind, index] = [[int(n) for n in ladder] for ladder in ladders]
        return True


class Teller:
    """What a process has counted, for the one that takes over: all of it first, then what has changed."""

    def __init__(self, region: Region, past: Past) -> None:
        self._region = region
        self._past = past
        self._told: dict[tuple[Any, ...], list[int]] = {}

    def news(self, assignment: Assignment, reloads: int) -> dict[str, Any]:
        """Plain values. O(everything configured)."""
        return {"layout": LAYOUT, "reloads": reloads, "counts": list(self._changed(assignment))}

    def _changed(self, assignment: Assignment) -> Iterator[list[Any]]:
        region = self._region
        for name, index in assignment.frontends.items():
            yield from self._one("frontend", name, None, index, region.frontend_totals)
        for name, index in assignment.backends.items():
            yield from self._one("group", name, None, index, region.group_totals)
        for (name, address), index in assignment.servers.items():
            yield from self._one("server", name, address, index, region.server_totals)

    def _one(
        self, kind: Kind, name: str, address: Address | None, index: int, read: Callable[[int], Sequence[int]]
    ) -> Iterator[list[Any]]:
        own = [0 if number in _LEFT_OUT else n for number, n in enumerate(read(index))]
        totals = self._past.totals(kind, index, own)
        key = (kind, name, address)
        if totals == self._told.get(key) or (key not in self._told and not any(totals)):
            return
        self._told[key] = totals
        ladders = [
            self._past.ladder(kind, index, which, self._region.ladder(kind, index, which, EDGES))
            for which in range(HISTOGRAMS)
        ]
        yield [kind, name, dataclasses.asdict(address) if address is not None else None, totals, ladders]


def _index(assignment: Assignment, kind: str, name: str, address: Mapping[str, Any] | None) -> int | None:
    if kind == "frontend":
        return assignment.frontends.get(name)
    if kind == "group":
        return assignment.backends.get(name)
    return assignment.servers.get((name, Address(**address))) if address is not None else None
