"""Checks of what comes by ACME: that it can be got, and by whom the challenges are answered."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from .checks_affinity import secret_checks
from .model import Config
from .structure import Finding


def acme_checks(config: Config) -> Iterator[Finding]:
    """Findings in the model's own paths. O(listeners)."""
    table = config.tls.acme
    wanted: dict[str, tuple[str, ...]] = {}
    for name, frontend in config.frontends.items():
        for index, listener in enumerate(frontend.listen):
            if listener.tls is None or not listener.tls.acme:
                continue
            where = ("frontends", name, "listen", index, "tls", "acme")
            names = tuple(listener.tls.acme)
            if table is None:
                yield Finding(where, "needs [tls.acme], with agree = true")
            if len(set(names)) < len(names):
                yield Finding(where, "names one twice")
            if set(wanted.setdefault(names[0], names)) != set(names):
                yield Finding(where, f"another listener has a certificate that begins with {names[0]} for other names")
    if table is None:
        return
    place = ("tls", "acme")
    if not wanted:
        yield Finding(place, "has no effect: no listener has acme = [NAMES] in its tls", warning=True)
    if not table.agree:
        yield Finding((*place, "agree"), "must be true: read the authority's terms of service, and agree to them")
    if importlib.util.find_spec("acme") is None or importlib.util.find_spec("josepy") is None:
        yield Finding(place, 'needs the client library: pip install "fastlb[acme]"')
    plain = any(f.mode == "http" and one.tls is None for f in config.frontends.values() for one in f.listen)
    if wanted and table.challenge == "http-01" and not plain:
        reason = 'http-01 is asked on port 80: add a plain listener (mode = "http"), or prove the names by handshake'
        yield Finding((*place, "challenge"), reason, "tls-alpn-01")
    if bool(table.eab_kid) != bool(table.eab_key):
        yield Finding((*place, "eab_kid" if table.eab_key else "eab_key"), "eab_kid and eab_key go together")
    yield from secret_checks((*place, "eab_key"), table.eab_key)
    if table.ca:
        try:
            Path(table.ca).read_bytes()
        except OSError as error:
            yield Finding((*place, "ca"), f"cannot be read: {error.strerror}")
