"""`make` on a machine without a suitable Python says what is missing and how to get it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT, need

SCRIPT = ROOT / ".ci" / "find-python"


def run(path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [need("sh"), str(SCRIPT)], env={"PATH": str(path), **env}, capture_output=True, text=True, check=False
    )


def fake(folder: Path, name: str, text: str) -> Path:
    """A program of this name that is Python with `text` run before the check."""
    program = folder / name
    program.write_text(f'#!{sys.executable}\nimport sys\n{text}\nexec(sys.argv[sys.argv.index("-c") + 1])\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    (tmp_path / "tail").symlink_to(need("tail"))
    return tmp_path


OLD = "sys.version_info = (3, 9, 2)"
NO_VENV = "sys.modules['ensurepip'] = None"
NO_HEADERS = (
    "import sysconfig; paths = sysconfig.get_paths()\nsysconfig.get_paths = lambda *_: {**paths, 'include': '/nowhere'}"
)


def test_nothing_at_all(tools: Path) -> None:
    done = run(tools)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no python3 in PATH" in done.stderr
    assert "apt-get install python3 python3-venv python3-dev" in done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(OLD, "is Python 3.9; fastlb needs 3.11 or newer", id="old"),
        pytest.param(NO_VENV, "has no module ensurepip: install the Debian package python3.", id="no venv"),
        pytest.param(NO_HEADERS, "has no headers (Python.h): install the Debian package python3.", id="no headers"),
    ],
)
def test_unsuitable_one_is_named_with_the_reason(tools: Path, text: str, reason: str) -> None:
    program = fake(tools, "python3", text)
    done = run(tools)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{program}: {reason}" in done.stderr


def test_newest_suitable_one_is_taken(tools: Path) -> None:
    for name, text in (
        ("python3", "sys.executable = 'plain'"),
        ("python3.11", "sys.executable = 'eleven'"),
        ("python3.12", "sys.executable = 'twelve'"),
        ("python3.13", NO_HEADERS),
        ("python3.14", "sys.exit('pyenv: python3.14: command not found')"),
    ):
        fake(tools, name, text)
    assert run(tools).stdout == "twelve\n"
    assert run(tools, PYTHON="python3.11").stdout == "eleven\n"
    assert run(tools, PYTHON="python3.13").returncode == 1
