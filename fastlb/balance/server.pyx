"""One server, as users of the library name it. What a balancer knows of it besides is the balancer's."""

cimport cython

from fastlb.balance.base cimport MAX_TIERS

from fastlb.balance.address import parse
from fastlb.balance.options import integer

_check_weight = integer(0, 65535)
_check_tier = integer(0, MAX_TIERS - 1)


@cython.no_gc
cdef class Server:
    """A server to balance over, at `address`: `host:port`, `[v6]:port` or `unix:/path`.

    `name` stands in messages, the address by default; `weight` 0-65535 is its share, 0 = drained; a `backup` serves
    only while no other server can; load spills from each `tier`, 0-7, to the next one when servers of it are lost. One
    Server may be in several balancers; each keeps its own state and counts of it.
    Servers are equal only to themselves. ValueError for a bad address or weight.
    """

    def __init__(self, address, *, name=None, weight=1, backup=False, tier=0):
        self.host, self.port, self.path = parse(address)
        if name is not None and (not isinstance(name, str) or not name):
            raise ValueError(f"name must be a string that is not empty, not {name!r}; nearest valid: {address!r}")
        self.address = address
        self.name = name or address
        self._weight = _check_weight("weight", weight)
        self.backup = backup
        self.tier = _check_tier("tier", tier)

    @property
    def weight(self):
        """Its share, 0-65535: as made, or as last set by a balancer's set_weight."""
        return self._weight

    def __repr__(self):
        name = f", name={self.name!r}" if self.name != self.address else ""
        backup = ", backup=True" if self.backup else f", tier={self.tier}" if self.tier else ""
        return f"Server({self.address!r}{name}, weight={self._weight}{backup})"
