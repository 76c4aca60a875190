"""Each module imports alone: in a fresh interpreter, without another one of ours having been imported first."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import fastlb
from tests.helpers import ROOT, SLOWNESS

MODULES = sorted(m.name for m in pkgutil.walk_packages(fastlb.__path__, "fastlb.") if m.name != "fastlb.__main__")


def test_modules_were_found() -> None:
    assert {"fastlb.spec", "fastlb.errors", "fastlb._core", "fastlb.balance"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_alone(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import {module}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60 * SLOWNESS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
