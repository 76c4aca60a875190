"""consistent_hash: the methods under one name. `method` = maglev (default) | ring | rendezvous | jump."""

from fastlb.balance import jump, maglev, rendezvous, ring_hash
from fastlb.balance.options import BOUND, choice, registry

_METHODS = {
    "maglev": (maglev.Maglev, maglev.OPTIONS),
    "ring": (ring_hash.RingHash, ring_hash.OPTIONS),
    "rendezvous": (rendezvous.Rendezvous, rendezvous.OPTIONS),
    "jump": (jump.Jump, jump.OPTIONS),
}


def consistent_hash(options, shared):
    """The algorithm of options["method"]; ValueError for an option of another method."""
    own = dict(options)
    method = own.pop("method", "maglev")
    factory, known = _METHODS[method]
    for name in own:
        if name not in known:
            owner = next(m for m, (_, options) in _METHODS.items() if name in options)
            raise ValueError(f"option {name!r} belongs to method {owner!r}, not to {method!r}")
    return factory(own, shared)


registry["consistent_hash"] = (
    consistent_hash,
    {"method": choice(*_METHODS), "bound": BOUND} | {n: c for _, known in _METHODS.values() for n, c in known.items()},
)
