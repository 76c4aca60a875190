"""Who may be picked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Member:
    weight: int = 1
    up: bool = True
    drain: bool = False
    maint: bool = False
    ejected: bool = False
    backup: bool = False
    limit: int = 0
    inflight: int = 0

    @property
    def eligible(self) -> bool:
        return self.weight > 0 and not self.drain and not self.maint

    @property
    def usable(self) -> bool:
        return self.eligible and self.up and not self.ejected

    @property
    def full(self) -> bool:
        return 0 < self.limit <= self.inflight


def serving(members: list[Member], panic: float) -> set[int]:
    """Slots that take part, limits apart."""

    def where(test: str, backup: bool) -> set[int]:
        return {i for i, m in enumerate(members) if m.backup == backup and getattr(m, test)}

    primaries, backups = where("usable", False), where("usable", True)
    if backups:
        return primaries or backups
    if panic and not primaries:
        return where("eligible", False) | where("eligible", True)
    if primaries and len(primaries) < panic * len(where("eligible", False)):
        return where("eligible", False)
    return primaries


def allowed(members: list[Member], panic: float, tried: list[int]) -> tuple[set[int], bool]:
    """Slots that an answer may be, and whether 'full' is the right answer when there are none."""
    now = serving(members, panic)
    untried = now - set(tried)
    if untried:
        return {i for i in untried if not members[i].full}, True
    other = {i for i, m in enumerate(members) if m.usable} - now - set(tried) if tried else set()
    return {i for i in other if not members[i].full}, bool(other)
