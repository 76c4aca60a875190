"""Balancing policies written in Python, for the library.

    @fastlb.balance.register("shortest_name")
    class ShortestName(fastlb.balance.Policy):
        def pick(self, servers, key):
            return min(servers, key=lambda server: len(server.name))

    balancer = fastlb.balance.Balancer("shortest_name", servers)

The balancer still does what it does around every algorithm: only servers that may be picked are offered, the one
chosen is taken within its limit. The price is a Python call a pick, some 100 ns plus what it does, where a
built-in algorithm needs half of that in all; the proxy's data path runs no Python and cannot use them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from fastlb.balance.options import nearest, policies, registry

if TYPE_CHECKING:
    from fastlb.balance.server import Server

P = TypeVar("P", bound="type[Policy]")


class Policy:
    """Base of policies. The options of the Balancer that it does not know itself go to the constructor."""

    def pick(self, servers: Sequence[Server], key: str | bytes | None) -> Server | None:
        """One of `servers` (never empty, in declared order: those up, not drained, below their limits), or None for
        none.

        Called once a pick, and again with fewer servers if another thread filled the one chosen.
        """
        raise NotImplementedError

    def released(self, server: Server, ok: bool | None, latency: float | None) -> None:
        """A use of `server` ended; arguments as given to `Balancer.release`."""


def register(name: str) -> Callable[[P], P]:
    """Class decorator that makes a Policy known to `Balancer` and `algorithms()` as `name`.

    ValueError when the name is no identifier or is taken by an algorithm; a policy of the same name is replaced.
    """
    if not name.isidentifier():
        hint = "".join(c if c.isalnum() else "_" for c in name) or "policy"
        raise ValueError(f"a policy's name must be an identifier, not {name!r}; nearest valid: {hint!r}")
    if name in registry:
        raise ValueError(f"{name!r} is an algorithm already; nearest free name: {'my_' + nearest(name, registry)!r}")

    def enter(policy: P) -> P:
        if not (isinstance(policy, type) and issubclass(policy, Policy)):
            raise TypeError(f"{policy!r} is not a subclass of fastlb.balance.Policy")
        policies[name] = policy
        return policy

    return enter
