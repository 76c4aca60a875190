"""Hash tables and rings by their definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import xxhash

MASK = 2**64 - 1
STEP = 0x9E3779B97F4A7C15


def mix64(z: int) -> int:
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def key(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())


def maglev(offsets: Sequence[int], skips: Sequence[int], size: int, weights: Sequence[int] | None = None) -> list[int]:
    """Whole permutations, then turns; a lighter server sits out the rounds that its weight has not paid for."""
    weights = weights or [1] * len(offsets)
    wishes = [iter([(o + j * s) % size for j in range(size)]) for o, s in zip(offsets, skips, strict=True)]
    table = [-1] * size
    target = [0.0] * len(offsets)
    turn = 0
    while -1 in table:
        turn += 1
        for i, weight in enumerate(weights):
            if turn * weight < target[i] or -1 not in table:
                continue
            target[i] += max(weights)
            table[next(slot for slot in wishes[i] if table[slot] == -1)] = i
    return table


def ring(names: Sequence[str], weights: Sequence[int], points: int = 160) -> list[tuple[int, int]]:
    found = []
    for i, (name, weight) in enumerate(zip(names, weights, strict=True)):
        found += [(mix64((key(name) + (k + 1) * STEP) & MASK) >> 32, i) for k in range(points * weight)]
    return sorted(found)


def on_ring(ring: Sequence[tuple[int, int]], position: int, up: set[int]) -> int:
    """Owner of the first point at or after `position` that belongs to somebody in `up`."""
    later = [i for point, i in ring if point >= position and i in up]
    return later[0] if later else next(i for _, i in ring if i in up)


def rendezvous(names: Sequence[str], weights: Sequence[int], key64: int, up: set[int]) -> int:
    def score(i: int) -> float:
        u = ((mix64(key64 ^ key(names[i])) >> 11) + 0.5) / 2**53
        return weights[i] / -math.log(u)

    return max(sorted(up), key=score)


def jump(key64: int, buckets: int) -> int:
    b, j = -1, 0
    while j < buckets:
        b = j
        key64 = (key64 * 2862933555777941757 + 1) & MASK
        j = int((b + 1) * (2**31 / ((key64 >> 33) + 1)))
    return b


def places(weights: Sequence[int], served: int, percent: int) -> list[int]:
    """HAProxy's hash-balance-factor: places of each server while `served` are in flight."""
    total = ((served + 1) * percent + 99) // 100
    whole, rest = divmod(total, sum(weights))
    found, before = [], 0
    for w in weights:
        found.append(max(1, w * whole + (before + w) * rest // sum(weights) - before * rest // sum(weights)))
        before += w
    return found


def ip_hash(octets: bytes, runs: int = 1) -> int:
    """nginx's hash after `runs` runs over the octets that count."""
    octets = octets[:3] if len(octets) == 4 else octets
    h = 89
    for _ in range(runs):
        for octet in octets:
            h = (h * 113 + octet) % 6271
    return h
