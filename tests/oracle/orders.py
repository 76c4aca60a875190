"""Round robin orders and least connections."""

from __future__ import annotations

from fractions import Fraction


class SmoothRoundRobin:
    """nginx: all gain their weight, the highest (first declared on a tie) has the turn and loses the sum."""

    def __init__(self, weights: list[int]) -> None:
        self.weights = weights
        self.current = [0] * len(weights)

    def pick(self) -> int:
        self.current = [c + w for c, w in zip(self.current, self.weights, strict=True)]
        best = self.current.index(max(self.current))
        self.current[best] -= sum(self.weights)
        return best


def eevdf(weights: list[int], picks: int) -> list[int]:
    """Among those whose start k/w has come by virtual time t/W, the earliest finish (k+1)/w, the first on a tie."""
    total = sum(weights)
    done = [0] * len(weights)
    order = []
    for t in range(picks):
        due = [i for i, w in enumerate(weights) if Fraction(done[i], w) <= Fraction(t, total)]
        best = min(due, key=lambda i: (Fraction(done[i] + 1, weights[i]), i))
        done[best] += 1
        order.append(best)
    return order


def deviation(order: list[int], weights: list[int]) -> float:
    """Greatest distance of any server's count from its ideal share over all prefixes.

    A count stands still between two picks of its server while the share grows: the extremes lie beside its picks.
    """
    total = sum(weights)
    counts = [0] * len(weights)
    worst = 0.0
    for t, i in enumerate(order):
        worst = max(worst, abs(counts[i] - t * weights[i] / total), abs(counts[i] + 1 - (t + 1) * weights[i] / total))
        counts[i] += 1
    return max(worst, *(abs(c - len(order) * w / total) for c, w in zip(counts, weights, strict=True)))


class LeastConnections:
    """Least in flight / weight; ties by a turn that moves on by (greatest weight << 10) / weight with each use."""

    def __init__(self, weights: list[int]) -> None:
        self.weights = weights
        self.stride = [(max(weights) << 10) // w for w in weights]
        self.turn = list(self.stride)
        self.load = [0] * len(weights)
        self.now = 0

    def pick(self) -> int:
        best = min(range(len(self.weights)), key=lambda i: (Fraction(self.load[i], self.weights[i]), self.turn[i], i))
        self.load[best] += 1
        self.now = max(self.now, self.turn[best])
        self.turn[best] = self.now + self.stride[best]
        return best

    def release(self, i: int) -> None:
        self.load[i] -= 1
