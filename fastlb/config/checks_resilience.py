"""What only shows when several keys of a backend's protection are looked at together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from .cpus import usable_cpus
from .model import Config
from .models_backends import BackendTable
from .paths import Path
from .structure import Finding
from .suggest import nearest

MB = 1 << 20
REST = 56 * MB  # of a worker without connections: some 48 MB measured
REST_ALONE = 80 * MB  # of the whole program in one process


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
    yield from overload_memory(config)


def overload_memory(config: Config) -> Iterator[Finding]:
    """Memory of which a worker needs so much at rest that it never leaves a step of overload."""
    steps = config.overload
    if not steps.memory:
        return
    workers = config.global_.workers
    if isinstance(workers, str):
        workers = usable_cpus()
    rest = REST if workers else REST_ALONE
    part = steps.memory // max(1, workers)
    marks = {key: getattr(steps, key) for key in ("refuse", "reset", "shed", "close")}
    lasting = [key for key, mark in marks.items() if mark and part * mark < rest]
    if not lasting:
        return
    least = max(1, workers) * math.ceil(rest / MB / min(filter(None, marks.values())))
    what = f"each of {workers} workers" if workers > 1 else "one process"
    yield Finding(
        ("overload", "memory"),
        f"leaves {part >> 20} MB to {what}, which needs some {rest >> 20} MB at rest: {lasting[0]} would last for good."
        f" {least}MB is the least",
        warning=True,
    )


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
