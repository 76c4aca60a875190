"""Routes that can never match, because an earlier one takes every request that they would.

Route A swallows route B when each condition of A follows from the conditions of B. "Follows" is decided for the
common forms and otherwise denied: a warning that is missing is better than one that is wrong.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from .models_frontends import RouteTable


def swallowed(routes: Sequence[RouteTable]) -> Iterator[tuple[int, int]]:
    """Pairs (index of a route that cannot match, index of the first that swallows it).

    Routes are compared with those of the same host and with those for any or a wildcard host, so the cost stays far
    from quadratic for the usual many hosts with a few routes each.
    """
    general: list[int] = []  # no host, or a wildcard among them
    by_host: dict[str, list[int]] = {}
    for index, route in enumerate(routes):
        if route.host and not any(host.startswith("*.") for host in route.host):
            candidates = sorted({*general, *(i for host in route.host for i in by_host.get(host, ()))})
        else:
            candidates = general
        for earlier in candidates:
            if swallows(routes[earlier], route):
                yield index, earlier
                break
        if not route.host or any(host.startswith("*.") for host in route.host):
            general.append(index)
        else:
            for host in route.host:
                by_host.setdefault(host, []).append(index)


def swallows(first: RouteTable, second: RouteTable) -> bool:
    """Whether every request that `second` matches is matched by `first`."""
    return (
        _covered(first.host, second.host, host_covers)
        and _covered(first.path, second.path, path_covers)
        and (not first.methods or (bool(second.methods) and set(second.methods) <= set(first.methods)))
        and _covered(first.source, second.source, _network_covers)
        and _implied(_folded(first.headers), _folded(second.headers))
        and _implied(first.query, second.query)
    )


def _covered(wide: Iterable[str], narrow: Iterable[str], covers: Callable[[str, str], bool]) -> bool:
    """Whether each alternative of `narrow` lies in one of `wide`; no alternatives = everything."""
    wide, narrow = list(wide), list(narrow)
    if not wide:
        return True
    return bool(narrow) and all(any(covers(one, other) for one in wide) for other in narrow)


def host_covers(wide: str, narrow: str) -> bool:
    if wide == narrow:
        return True
    return wide.startswith("*.") and narrow.endswith(wide[1:])


def path_covers(wide: str, narrow: str) -> bool:
    """Path patterns of `spec.Route`: '/*' at the end is any depth and holds '/a' as well; '*' elsewhere is a run
    without '/'."""
    if wide == narrow:
        return True
    if wide.endswith("/*") and "*" not in wide[:-1]:
        prefix = wide[:-2]
        return prefix == "" or narrow == prefix or narrow.startswith(prefix + "/")
    if "*" not in wide or "*" in narrow:
        return False
    body, last = wide.removesuffix("*"), ".*" if wide.endswith("*") else ""
    return re.fullmatch("[^/]*".join(map(re.escape, body.split("*"))) + last, narrow, re.DOTALL) is not None


def _network_covers(wide: str, narrow: str) -> bool:
    one, other = ipaddress.ip_network(wide), ipaddress.ip_network(narrow)
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return other.subnet_of(one)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return other.subnet_of(one)
    return False


def _folded(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _implied(needed: Mapping[str, str], known: Mapping[str, str]) -> bool:
    """Whether conditions on values hold wherever the known ones do; '*' = present."""
    return all(name in known and (known[name] == value or value == "*") for name, value in needed.items())
