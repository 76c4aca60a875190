"""Builds the Cython extensions: one module, one extension. Metadata lives in pyproject.toml.

Knobs (environment): FASTLB_DEBUG=1 assertions and live-object counters; FASTLB_SANITIZE=address,undefined;
FASTLB_ANNOTATE=1 writes the annotated C as HTML; FASTLB_COVERAGE=1 line tracing for coverage;
FASTLB_ONLY=prefix,prefix builds only modules of these packages.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent


def flag(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


DEBUG = flag("FASTLB_DEBUG")
COVERAGE = flag("FASTLB_COVERAGE")
SANITIZE = os.environ.get("FASTLB_SANITIZE", "")
ONLY = tuple(p for p in os.environ.get("FASTLB_ONLY", "").split(",") if p)


def extensions() -> list[Extension]:
    cflags = ["-std=gnu11", "-fno-strict-aliasing", "-Wall", "-Wno-unused-function", "-Wno-unused-variable"]
    ldflags: list[str] = []
    macros: list[tuple[str, str | None]] = [("FASTLB_DEBUG", "1" if DEBUG else "0")]
    if DEBUG or SANITIZE:
        cflags += ["-O1", "-g", "-fno-omit-frame-pointer", "-UNDEBUG"]
    else:
        cflags += ["-O3", "-g0", "-DNDEBUG"]
        ldflags += ["-s"]
    if SANITIZE:
        cflags += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=undefined"]
        ldflags += [f"-fsanitize={SANITIZE}"]
    if COVERAGE:
        macros += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]
    result = []
    for pyx in sorted((ROOT / "fastlb").rglob("*.pyx")):
        relative = pyx.relative_to(ROOT)
        name = ".".join(relative.with_suffix("").parts)
        if ONLY and not any(name == p or name.startswith(p + ".") for p in ONLY):
            continue
        result.append(
            Extension(
                name,
                [str(relative)],
                include_dirs=["fastlb/_core", "fastlb/http"],
                define_macros=macros,
                extra_compile_args=cflags,
                extra_link_args=ldflags,
                depends=[str(h.relative_to(ROOT)) for h in (ROOT / "fastlb").rglob("*.h")],
            )
        )
    return result


setup(
    ext_modules=cythonize(
        extensions(),
        annotate=flag("FASTLB_ANNOTATE"),
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "nonecheck": False,
            "initializedcheck": False,
            "cdivision": True,
            "embedsignature": False,
            "linetrace": COVERAGE,
        },
        compile_time_env=None,
        nthreads=0,
    ),
)
