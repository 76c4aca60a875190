"""How much memory a worker may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastlb import spec
from fastlb.control.memory import ENOUGH, cgroup_limit, memory_share

GB = 1 << 30


def put(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_the_smallest_limit_of_the_groups_above_counts(tmp_path: Path) -> None:
    mine = tmp_path / "cgroup"
    mine.write_text("0::/a/b\n")
    root = tmp_path / "fs"
    assert cgroup_limit(root, mine) == 0
    put(root / "a" / "b", "memory.max", "max\n")
    assert cgroup_limit(root, mine) == 0
    put(root / "a", "memory.max", f"{3 * GB}\n")
    put(root, "memory.max", f"{5 * GB}\n")
    assert cgroup_limit(root, mine) == 3 * GB
    put(root / "a" / "b", "memory.max", f"{2 * GB}\n")
    assert cgroup_limit(root, mine) == 2 * GB


def test_groups_of_the_first_version_are_read_too(tmp_path: Path) -> None:
    mine = tmp_path / "cgroup"
    mine.write_text("7:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/\n")
    root = tmp_path / "fs"
    put(root / "memory", "memory.limit_in_bytes", "9223372036854771712\n")  # how it says that there is none
    assert cgroup_limit(root, mine) == 0
    put(root / "memory" / "docker" / "1", "memory.limit_in_bytes", f"{GB}\n")
    assert cgroup_limit(root, mine) == GB


def test_without_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cgroup_limit(tmp_path, tmp_path / "none") == 0


@pytest.mark.parametrize(
    ("workers", "memory", "limit", "share"),
    [
        (0, 0, 0, 0),
        (4, 2 * GB, GB, GB // 2),
        (0, 2 * GB, 0, 2 * GB),
        (3, 0, 4 * GB, GB),
        (0, 0, 4 * GB, 4 * GB),
        (8, 0, GB, ENOUGH),
    ],
)
def test_a_worker_has_its_part(workers: int, memory: int, limit: int, share: int) -> None:
    one = spec.Spec(
        (), (), global_=spec.Global(workers=workers), overload=spec.OverloadSteps(memory=memory)
    )  # fmt: skip
    assert memory_share(one, limit) == share
