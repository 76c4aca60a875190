"""`workers = "auto"`: the affinity mask, capped by the limits of control groups of both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastlb.config.cpus import cgroup_limit, usable_cpus


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "limit", "cpus"),
    [
        ({}, None, 4),
        ({"proc/self/cgroup": "0::/\n"}, None, 4),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, None, 4),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "200000 100000\n"}, 2.0, 2),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "250000 100000\n"}, 2.5, 2),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 0.5, 1),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "900000 100000\n"}, 9.0, 4),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "100000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "300000 100000\n",
            },
            1.0,
            1,
        ),
        # inside a container: the name is that of the host, the mount shows the container's own group
        ({"proc/self/cgroup": "0::/../x/y\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3.0, 3),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/a\n1:name=systemd:/s\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000\n",
            },
            3.0,
            3,
        ),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "rubbish\n"}, None, 4),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "0 0\n"}, None, 4),
        ({"proc/self/cgroup": "nonsense\n"}, None, 4),
    ],
)
@pytest.mark.usefixtures("four_cpus")
def test_limits(tmp_path: Path, files: dict[str, str], limit: float | None, cpus: int) -> None:
    root = write(tmp_path, files)
    assert cgroup_limit(root) == limit
    assert usable_cpus(root) == cpus


def test_this_machine() -> None:
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))
