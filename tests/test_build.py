"""The build under test is the one that was asked for, and all of it was imported from one place."""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path

import fastlb
from fastlb._core.debug import debug_build, live_objects
from tests.helpers import ROOT


def test_debug_build_is_what_was_asked_for() -> None:
    assert debug_build() == (os.environ.get("FASTLB_DEBUG", "0") not in ("", "0"))


def test_release_build_counts_nothing() -> None:
    if not debug_build():
        assert not any(live_objects().values())


def test_sanitizer_is_in_the_process() -> None:
    loaded = Path("/proc/self/maps").read_text()
    assert ("libasan" in loaded) == ("address" in os.environ.get("FASTLB_SANITIZE", ""))


def test_package_comes_from_beside_the_tests_or_from_an_installation() -> None:
    """A copy of the checkout (make debug, make asan) must not import the release build of another one."""
    package = Path(fastlb.__file__).resolve().parent
    if (ROOT / "fastlb").is_dir():
        assert package == ROOT / "fastlb"
    else:
        assert "site-packages" in package.parts


def test_compiled_modules_come_from_the_same_place() -> None:
    package = Path(fastlb.__file__).resolve().parent
    for module in pkgutil.walk_packages(fastlb.__path__, "fastlb."):
        if module.name == "fastlb.__main__":
            continue
        file = importlib.import_module(module.name).__file__
        assert file is not None
        assert package in Path(file).resolve().parents, f"{module.name} was imported from {file}"
