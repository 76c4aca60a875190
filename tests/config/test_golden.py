"""Whole files and every message that they give, in order: golden/NAME.toml and golden/NAME.txt."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastlb.config import check_bytes

from .samples import GOLDEN, texts

FILES = sorted(GOLDEN.glob("*.toml"))


def test_there_are_golden_files() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {path.stem for path in FILES} != set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_messages(path: Path) -> None:
    report = check_bytes(path.read_bytes(), path.name)
    assert texts(report) == path.with_suffix(".txt").read_text().splitlines()
    assert (report.spec is None) == bool(report.errors)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_problem_points_to_its_line(path: Path) -> None:
    """The last key of the path stands on the line, or the path ends in the index of a list that begins there."""
    lines = path.read_text().splitlines()
    report = check_bytes(path.read_bytes(), path.name)
    for problem in (*report.errors, *report.warnings):
        assert 1 <= problem.line <= len(lines)
        last = problem.key.rpartition(".")[2].partition("[")[0].strip('"')
        line = lines[problem.line - 1]
        if last and " is needed" not in problem.reason and "every request gets 404" not in problem.reason:
            assert last in line or "routes" in line, (problem.key, line)
