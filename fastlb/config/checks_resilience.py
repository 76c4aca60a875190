"""What only shows when several keys of a backend's protection are looked at together."""

from __future__ import annotations

from collections.abc import Iterator

from .models_backends import BackendTable
from .paths import Path
from .structure import Finding


def circuit_breaker(path: Path, backend: BackendTable) -> Iterator[Finding]:
    """Times that must not be 0, and a breaker that nothing opens."""
    rules = backend.circuit_breaker
    if rules is None:
        return
    for key in ("slow_after", "window", "open"):
        if not getattr(rules, key):
            yield Finding((*path, key), "must be more than 0")
    if not rules.scope:
        yield Finding((*path, "scope"), "must name server, backend or both")
    if not (rules.errors or rules.slow or rules.concurrency):
        yield Finding(path, "nothing opens it: errors, slow and concurrency are all 0")
    if backend.mode != "http":
        yield Finding(path, 'is only for mode = "http"')
