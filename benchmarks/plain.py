"""Baselines in plain Python: what one writes without fastlb, with the standard library's best means."""

from __future__ import annotations

import bisect
import heapq
import random
from collections.abc import Callable, Sequence
from typing import Any

import xxhash

from tests.oracle.hashing import key, mix64


def addresses(n: int) -> list[str]:
    return [f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}:80" for i in range(n)]


def table_pick(n: int) -> Callable[[str], int]:
    """A table of slots by the hash of a key: Maglev's look-up."""
    size = 65537
    table = [i % n for i in range(size)]
    digest = xxhash.xxh3_64_intdigest
    return lambda text: table[digest(text.encode()) % size]


def ring_pick(n: int) -> Callable[[str], int]:
    """A sorted ring of points and a binary search; fewer points where making them would take Python half a minute."""
    points = 160 if n < 10_000 else 16
    ring = sorted((mix64(key(f"{name}{k}")), i) for i, name in enumerate(addresses(n)) for k in range(points))
    positions = [p for p, _ in ring]
    digest = xxhash.xxh3_64_intdigest
    return lambda text: ring[bisect.bisect(positions, digest(text.encode())) % len(ring)][1]


class LeastConnections:
    """A heap of (in flight, server) with stale entries skipped."""

    def __init__(self, n: int) -> None:
        self.load = [0] * n
        self._heap = [(0, i) for i in range(n)]

    def use(self) -> None:
        """Picks, takes, releases."""
        while True:
            load, i = heapq.heappop(self._heap)
            if load == self.load[i]:
                break
        self.load[i] += 1
        heapq.heappush(self._heap, (self.load[i], i))
        self.load[i] -= 1
        heapq.heappush(self._heap, (self.load[i], i))


class TwoChoices:
    """Two at random, the one with less in flight."""

    def __init__(self, n: int) -> None:
        self.load = [0] * n
        self._random = random.Random(1).random

    def use(self) -> None:
        n, rand = len(self.load), self._random
        a, b = int(rand() * n), int(rand() * n)
        i = a if self.load[a] <= self.load[b] else b
        self.load[i] += 1
        self.load[i] -= 1


def rendezvous_pick(n: int) -> Callable[[str], int]:
    hashes = [key(name) for name in addresses(n)]
    digest = xxhash.xxh3_64_intdigest

    def pick(text: str) -> int:
        k = digest(text.encode())
        return max(range(n), key=lambda i: (k ^ hashes[i]) * 0x9E3779B97F4A7C15 & (2**64 - 1))

    return pick


class TokenBucket:
    """Tokens a key in a dictionary."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: dict[str, tuple[float, float]] = {}

    def check(self, key: str, now: float) -> bool:
        tokens, then = self._buckets.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        ok = tokens >= 1
        self._buckets[key] = (tokens - ok, now)
        return ok


class Sticky:
    """Which server a key sticks to, and until when, in a dictionary."""

    def __init__(self, expire: float) -> None:
        self._expire = expire
        self._entries: dict[bytes, tuple[int, float]] = {}

    def enter(self, key: bytes, server: int, now: float) -> int:
        found = self._entries.get(key)
        if found is not None and found[1] > now:
            server = found[0]
        self._entries[key] = (server, now + self._expire)
        return server


def heap_timers(count: int) -> Callable[[int], None]:
    """Deadlines in a heap; moving one pushes another."""
    heap = [(30_000, i) for i in range(count)]

    def move(rounds: int) -> None:
        for r in range(rounds):
            for i in range(count):
                heapq.heappushpop(heap, (30_000 + r, i))

    return move


class Collector:
    """What a user of httptools writes at the least."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_message_begin(self) -> None:
        self.headers = []

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        pass


def rewrite(head: bytes) -> bytes:
    """A head without hop-by-hop fields and with X-Forwarded-For, by splitting and joining."""
    line, *fields = head[:-4].split(b"\r\n")
    kept = [f for f in fields if f.partition(b":")[0].lower() not in (b"connection", b"keep-alive", b"te", b"upgrade")]
    return b"\r\n".join([line, *kept, b"X-Forwarded-For: 10.0.0.1", b"X-Forwarded-Proto: http", b"", b""])


def repeat(what: Callable[..., object], *args: Any) -> Callable[[int], None]:
    """A loop of calls, for baselines of subjects that loop inside."""

    def loop(times: int) -> None:
        for _ in range(times):
            what(*args)

    return loop


def lookups(table: dict[bytes, int], key: bytes, times: int) -> None:
    for _ in range(times):
        table[key]


def sums(counters: Sequence[Sequence[int]]) -> list[int]:
    """Shards added up, column by column."""
    return [sum(column) for column in zip(*counters, strict=True)]
