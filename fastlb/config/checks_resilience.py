"""What only shows when several keys of a backend's protection are looked at together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .model import Config
from .models_backends import BackendTable
from .paths import Path
from .structure import Finding
from .suggest import nearest


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
    if backend.mode == "udp":
        yield Finding(path, 'is only for mode = "http" and "tcp"')


def overload(path: Path, name: str, backend: BackendTable, names: Iterable[str]) -> Iterator[Finding]:
    """Where requests that are turned away go: one place, that exists, and that does not lead back."""
    limits = backend.adaptive_concurrency
    if limits is not None and not limits.min <= limits.initial <= limits.max:
        yield Finding((*path, "adaptive_concurrency"), "must be min <= initial <= max")
    if limits is not None and backend.mode != "http":
        yield Finding((*path, "adaptive_concurrency"), 'is only for mode = "http"')
    rules = backend.overload
    if rules is None:
        return
    path = (*path, "overload")
    if bool(rules.backend) == (rules.respond is not None):
        yield Finding(path, "must have one of respond and backend")
    if rules.backend and rules.backend not in names:
        yield Finding((*path, "backend"), "no such backend", nearest(rules.backend, list(names)))
    if rules.backend == name:
        yield Finding((*path, "backend"), "must be another backend")
    if backend.circuit_breaker is None and limits is None:
        yield Finding(path, "has no effect without circuit_breaker or adaptive_concurrency", warning=True)


def overload_steps(config: Config) -> Iterator[Finding]:
    """Each step of overload gives up more than the one before, so it must not begin earlier."""
    before = 0.0
    for key in ("close", "shed", "refuse", "reset"):
        mark = getattr(config.overload, key)
        if mark and mark < before:
            yield Finding(("overload", key), f"must not be below the steps before it, the last of them at {before:.0%}")
        before = max(before, mark)


def overload_rings(backends: Mapping[str, BackendTable]) -> Iterator[Finding]:
    """Backends whose overload leads back to them."""
    for name in backends:
        seen, at = {name}, name
        while (rules := backends[at].overload) is not None and rules.backend in backends:
            at = rules.backend
            if at in seen:
                if at == name and len(seen) > 1:
                    yield Finding(("backends", name, "overload", "backend"), "leads back to this backend")
                break
            seen.add(at)
