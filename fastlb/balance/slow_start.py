"""Slow start: how much of its weight a server has some time after it came (back) into service."""

from __future__ import annotations

FULL = 65536


def factor(elapsed: float, window: float, aggression: float = 1.0, minimum: float = 0.1) -> float:
    """Share of the full weight, minimum..1, `elapsed` seconds into a window of `window` seconds.

    max(minimum, (elapsed / window) ** (1 / aggression)): aggression 1 is a straight line, 2 rises early, 0.5 late.
    O(1). Source: Envoy, slow_start_config (minimum 10 %, elapsed at least 1 ms).
    """
    if window <= 0 or elapsed >= window:
        return 1.0
    curve: float = (max(elapsed, 0.001) / window) ** (1 / aggression)
    return min(1.0, max(minimum, curve))


def ramp(elapsed: float, window: float, aggression: float = 1.0, minimum: float = 0.1) -> int:
    """`factor` as the integer that a server's record holds: 1/65536, 65536 = full."""
    return max(1, round(factor(elapsed, window, aggression, minimum) * FULL))


def step(window: float) -> float:
    """Seconds between two steps of the ramp: 5 % of the window, at least 1 s (HAProxy's steps), at most the window."""
    return min(window, max(1.0, window / 20))
