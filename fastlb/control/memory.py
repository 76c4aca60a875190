"""How much memory a worker may have, and what the workers tell of overload."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastlb._core.region import Region
from fastlb.engine.overload import STEPS, overload_status
from fastlb.spec import Spec

__all__ = ["STEPS", "Given", "cgroup_limit", "memory_share", "overload_settings", "overload_steps"]

CGROUPS = Path("/sys/fs/cgroup")
MINE = Path("/proc/self/cgroup")
ENOUGH = 128 * 1024 * 1024  # a part of a control group's memory that is never too little: nobody has asked for a limit


def memory_share(spec: Spec, limit: int) -> int:
    """Bytes that a worker may have; 0 = not watched. What the configuration says in equal parts, else a part of the
    control group's `limit`, of which the supervisor needs one too."""
    workers = max(1, spec.global_.workers)
    if spec.overload.memory:
        return spec.overload.memory // workers
    return max(limit // (workers + (spec.global_.workers > 0)), ENOUGH) if limit else 0


def cgroup_limit(root: Path = CGROUPS, mine: Path = MINE) -> int:
    """Bytes that this process's control group or one above it may have (version 2 or 1); 0 = unlimited or unknown."""
    try:
        lines = mine.read_text().splitlines()
    except OSError:
        return 0
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        place = top / path.strip("/")
        for folder in (place, *place.parents):
            found += _bytes(folder / name)
            if folder == top:
                break
    return min(found, default=0)


def _bytes(file: Path) -> list[int]:
    try:
        text = file.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() and int(text) < 2**60 else []


def overload_settings(spec: Spec) -> tuple[tuple[float, ...], int]:
    """Marks of the steps, and the bytes that a worker may have."""
    steps = spec.overload
    return (steps.close, steps.shed, steps.refuse, steps.reset), memory_share(spec, cgroup_limit())


@dataclass(frozen=True, slots=True)
class Given:
    """What a worker has given up for want of resources."""

    step: int  # 0 = none
    resource: str  # connections | descriptors | memory; what it is shortest of
    pressure: float  # the share of that in use
    steps: int  # taken so far
    shed: int  # idle connections that were ended early
    reset: int  # connections that were reset for their memory


def overload_steps(region: Region, worker: int) -> Given:
    """Of the worker in this slot."""
    return Given(*overload_status(region, worker))
