"""Builds the Cython extensions: one module, one extension. Metadata lives in pyproject.toml.

Knobs (environment):
FASTLB_DEBUG=1       assertions and live-object counters
FASTLB_SANITIZE=...  compiler sanitizers, e.g. address,undefined
FASTLB_ANNOTATE=1    writes the annotated C as HTML beside the translated C under build/
FASTLB_COVERAGE=1    line tracing for coverage
FASTLB_COUNT=0       leaves out what is counted at the end of a request; only to measure what the counting costs
FASTLB_ONLY=a,b      builds only modules of these packages ("-" builds none)
FASTLB_CACHE=DIR     keeps translated C in DIR and takes it from there when nothing it was made from changed
FASTLB_JOBS=N        compilers run side by side, 2 unless told

The translated C and the objects go below build/ and nothing but the extension itself into the package. A change of
knobs rebuilds everything, so a tree never mixes two kinds of build. A failed compile fails the build.
"""

import os
import sysconfig
from pathlib import Path

from Cython import __version__ as cython_version
from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / "fastlb"
# One tree of objects an interpreter: their file names do not tell which one they were compiled for.
BUILD = Path("build") / (sysconfig.get_config_var("SOABI") or "unknown")


def flag(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


DEBUG = flag("FASTLB_DEBUG")
COVERAGE = flag("FASTLB_COVERAGE")
SANITIZE = os.environ.get("FASTLB_SANITIZE", "")
ONLY = tuple(p for p in os.environ.get("FASTLB_ONLY", "").split(",") if p)
JOBS = int(os.environ.get("FASTLB_JOBS", "2"))

CFLAGS = ["-std=gnu11", "-fno-strict-aliasing", "-Wall", "-Wno-unused-function", "-Wno-unused-variable"]
LDFLAGS: list[str] = []
MACROS: list[tuple[str, str | None]] = [("FASTLB_DEBUG", "1" if DEBUG else "0")]
if os.environ.get("FASTLB_COUNT") == "0":
    MACROS += [("FASTLB_COUNT", "0")]
if DEBUG or SANITIZE:
    # setuptools puts the flags that Python itself was built with first: undo what would weaken the checks
    CFLAGS += ["-O1", "-g", "-fno-omit-frame-pointer", "-UNDEBUG", "-U_FORTIFY_SOURCE"]
else:
    CFLAGS += ["-O3", "-g0", "-DNDEBUG"]
    LDFLAGS += ["-s"]
if SANITIZE:
    CFLAGS += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=undefined"]
    LDFLAGS += [f"-fsanitize={SANITIZE}"]
if COVERAGE:
    MACROS += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "nonecheck": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": False,
    "linetrace": COVERAGE,
}


def knobs_stamp() -> str:
    """Path of a file that is rewritten when the kind of build changes; every extension depends on it."""
    text = f"{cython_version}\n{CFLAGS}\n{LDFLAGS}\n{MACROS}\n{DIRECTIVES}\n{os.environ.get('CC', '')}\n"
    path = ROOT / BUILD / "knobs"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return str(path.relative_to(ROOT))


def extensions() -> list[Extension]:
    """One extension for each .pyx below the package that FASTLB_ONLY lets through."""
    depends = [knobs_stamp(), "setup.py", *(str(h.relative_to(ROOT)) for h in sorted(PACKAGE.rglob("*.h")))]
    result = []
    for pyx in sorted(PACKAGE.rglob("*.pyx")):
        relative = pyx.relative_to(ROOT)
        name = ".".join(relative.with_suffix("").parts)
        if ONLY and not any(name == p or name.startswith(p + ".") for p in ONLY):
            continue
        result.append(
            Extension(
                name,
                [str(relative)],
                include_dirs=["fastlb/_core", "fastlb/http", "fastlb/engine"],
                define_macros=MACROS,
                extra_compile_args=CFLAGS,
                extra_link_args=LDFLAGS,
                depends=depends,
            )
        )
    return result


def main() -> None:
    os.chdir(ROOT)
    modules = extensions()
    setup(
        ext_modules=cythonize(
            modules,
            build_dir=str(BUILD / ("c-coverage" if COVERAGE else "c")),
            annotate=flag("FASTLB_ANNOTATE"),
            compiler_directives=DIRECTIVES,
            cache=os.environ.get("FASTLB_CACHE") or False,
            nthreads=JOBS if len(modules) > 1 and JOBS > 1 else 0,
        ),
        options={"build_ext": {"parallel": JOBS, "build_temp": str(BUILD / "objects")}},
    )


if __name__ == "__main__":  # translation runs in worker processes, which may import this file
    main()
