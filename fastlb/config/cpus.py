"""How many CPUs this process may use: what `workers = "auto"` stands for."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """CPUs of the affinity mask, capped by the CPU limit of the control group. At least 1.

    A limit of 2.5 CPUs counts as 2: a third worker would be throttled in every period, and its requests with it.
    `root` stands in for '/' in tests.
    """
    count = len(os.sched_getaffinity(0))
    limit = cgroup_limit(root)
    if limit is not None:
        count = min(count, int(limit))
    return max(count, 1)


def cgroup_limit(root: Path = Path("/")) -> float | None:
    """The lowest CPU limit of the control groups that this process is in, in CPUs; None = unlimited."""
    limits = [limit for group in _groups(root) if (limit := _limit(group)) is not None]
    return min(limits, default=None)


def _groups(root: Path) -> list[Path]:
    """Directories of the process's groups from its own up to the top, of version 2 and of version 1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if not controllers:
            tops = [root / "sys/fs/cgroup"]
        elif "cpu" in controllers.split(","):
            tops = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup/cpu"]
        else:
            continue
        parts = [part for part in name.split("/") if part not in ("", "..")]
        for top in tops:
            # inside a container the name may be that of the host: the mount's own top then holds the limit
            found += [top.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return found


def _limit(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, _, period = (group / "cpu.max").read_text().strip().partition(" ")
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        if quota in ("max", "-1"):
            return None
        limit = int(quota) / int(period or 100_000)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return limit if limit > 0 else None
