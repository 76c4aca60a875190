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
    tier: int = 0
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


def by_largest_remainder(parts: list[int]) -> list[int]:
    """100 divided in proportion to `parts`."""
    total = sum(parts)
    if total == 0:
        return [0] * len(parts)
    shares = [100 * part // total for part in parts]
    behind = sorted(range(len(parts)), key=lambda i: (-(100 * parts[i] % total), i))
    for i in behind[: 100 - sum(shares)]:
        shares[i] += 1
    return shares


def loads(tiers: list[tuple[int, int]]) -> tuple[list[int], int]:
    """Percent of the load for each tier of (usable, all) servers, and how much of it they can carry."""
    health = [min(100, 140 * usable // everybody) if everybody else 0 for usable, everybody in tiers]
    if sum(health) < 100:
        return by_largest_remainder(health), sum(health)
    taken = [min(100, sum(health[: i + 1])) for i in range(len(health))]
    return [now - before for now, before in zip(taken, [0, *taken], strict=False)], 100


def serving_of_several(members: list[Member], panic: float) -> set[int]:
    """Likewise, where primaries stand in several tiers."""
    tiers = {m.tier for m in members if m.eligible and not m.backup}
    usable = {t: {i for i, m in enumerate(members) if m.usable and not m.backup and m.tier == t} for t in tiers}
    everybody = {t: {i for i, m in enumerate(members) if m.eligible and not m.backup and m.tier == t} for t in tiers}
    backups = {i for i, m in enumerate(members) if m.backup and m.usable}
    if backups and not any(usable.values()):
        return backups
    order = sorted(tiers)
    shares, carried = loads([(len(usable[t]), len(everybody[t])) for t in order])
    if carried < 100 and not backups and panic:
        panicking = {t for t in tiers if len(usable[t]) < panic * len(everybody[t])}
        if panicking == tiers:
            last = set() if any(usable.values()) else {i for i, m in enumerate(members) if m.backup and m.eligible}
            return set().union(*everybody.values(), last)
        usable = {t: everybody[t] if t in panicking else usable[t] for t in tiers}
    return set().union(*(usable[t] for t, share in zip(order, shares, strict=True) if share))


def serving(members: list[Member], panic: float) -> set[int]:
    """Slots that take part, limits apart."""
    if len({m.tier for m in members if m.eligible and not m.backup}) > 1:
        return serving_of_several(members, panic)

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
