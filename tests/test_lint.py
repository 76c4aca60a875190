"""Rules of the house that no linter knows: explicit noexcept, no cpdef in hot code, short files, nothing stale."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.source_tree import PACKAGE, blank_text, files

HOT = ("_core", "balance", "http", "engine")
LONGEST_FILE = 600  # lines; aim at 150-400


def void_without_noexcept(source: str) -> Iterator[int]:
    """Lines of C-level functions returning void that would make every caller ask for a pending exception.

    Declarations below `cdef extern` are C's and cannot raise.
    """
    text = blank_text(source)
    extern_indent: int | None = None
    offset = 0
    for number, line in enumerate(text.split("\n"), 1):
        start, offset = offset, offset + len(line) + 1
        indent = len(line) - len(line.lstrip())
        if line.strip() and extern_indent is not None and indent <= extern_indent:
            extern_indent = None
        if re.match(r"\s*cdef\s+extern\b", line):
            extern_indent = indent
        if extern_indent is not None:
            continue
        match = re.match(
            r"\s*(?:ctypedef\s+|cdef\s+)?(?:(?:inline|public|api)\s+)*void\s*(?:\(\s*\*\s*\w+\s*\)|\w+)\s*\(", line
        )
        if match and "noexcept" not in text[_closing(text, start + match.end() - 1) :].split("\n", 1)[0]:
            yield number


def _closing(text: str, position: int) -> int:
    """Position after the bracket that closes the one at `position`."""
    depth = 0
    for i in range(position, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i + 1
    return len(text)


def cpdef_functions(source: str) -> Iterator[int]:
    """Lines with a cpdef that is not an enum: two entry points, the slow one found by a dictionary look-up."""
    for number, line in enumerate(blank_text(source).split("\n"), 1):
        if re.search(r"\bcpdef\b(?!\s+enum\b)", line):
            yield number


def hot_files() -> list[Path]:
    return [p for p in files(".pyx", ".pxd") if p.relative_to(PACKAGE).parts[0] in HOT]


def report(check: object, paths: list[Path]) -> list[str]:
    assert callable(check)
    return [f"{p.relative_to(ROOT)}:{line}" for p in paths for line in check(p.read_text())]


def test_void_functions_are_noexcept() -> None:
    assert not report(void_without_noexcept, hot_files())


def test_hot_packages_have_no_cpdef() -> None:
    assert not report(cpdef_functions, hot_files())


def test_hot_packages_were_found() -> None:
    assert {p.relative_to(PACKAGE).parts[0] for p in hot_files()} == set(HOT)


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("cdef void f(int a):\n    pass", [1]),
        ("cdef void f(int a) noexcept:\n    pass", []),
        ("cdef void f(int a) noexcept nogil:\n    pass", []),
        ("cdef class A:\n    cdef inline void f(\n        self,\n        int a,\n    ) nogil:\n        pass", [2]),
        (
            "cdef class A:\n    cdef inline void f(\n        self,\n    ) noexcept nogil:\n        pass",
            [],
        ),
        ("cdef class A:\n    cdef:\n        int x\n        void f(self)", [4]),
        ("ctypedef void (*callback)(void* p)", [1]),
        ("ctypedef void (*callback)(void* p) noexcept", []),
        ('cdef extern from "x.h" nogil:\n    void f(int a)\n    void g()\ncdef void h():\n    pass', [4]),
        ("# cdef void f()\ncdef void* f():\n    pass", []),
    ],
)
def test_check_for_noexcept(text: str, bad: list[int]) -> None:
    assert list(void_without_noexcept(text)) == bad


def test_check_for_cpdef() -> None:
    assert list(cpdef_functions("cpdef int f():\n    pass\ncpdef enum E:\n    A\n# cpdef\n'cpdef x'")) == [1]


def test_files_are_short() -> None:
    sources = [p for d in ("fastlb", "tests", "benchmarks", "loadtests") for p in (ROOT / d).rglob("*")]
    sources = [p for p in sources if p.suffix in (".py", ".pyx", ".pxd", ".pyi", ".h")] + [ROOT / "setup.py"]
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in sources}
    assert len(lengths) > 10
    assert not {name: n for name, n in lengths.items() if n > LONGEST_FILE}


def test_every_module_is_built_and_no_extension_is_stale() -> None:
    """Each .pyx has its extension, newer than its sources; no extension is left of a module that is gone."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    problems = []
    for pyx in files(".pyx"):
        built = pyx.with_name(pyx.stem + suffix)
        own = [s for s in (pyx, pyx.with_suffix(".pxd")) if s.exists()]
        if not built.exists():
            problems.append(f"{pyx.relative_to(ROOT)} is not built")
        elif any(s.stat().st_mtime > built.stat().st_mtime for s in own):
            problems.append(f"{built.relative_to(ROOT)} is older than its source")
        if pyx.with_suffix(".py").exists():
            problems.append(f"{pyx.with_suffix('.py').relative_to(ROOT)} would be hidden by the extension beside it")
    for built in PACKAGE.rglob("*.so"):
        if not built.with_name(built.name.split(".")[0] + ".pyx").exists():
            problems.append(f"{built.relative_to(ROOT)} has no source any more; remove it")
    assert not problems, "run `make build`: " + "; ".join(problems)


def test_no_compiler_output_in_the_package() -> None:
    """Translated C belongs below build/: beside its source it would be packed and read as hand-written."""
    assert not [str(p.relative_to(ROOT)) for p in PACKAGE.rglob("*.c")]
